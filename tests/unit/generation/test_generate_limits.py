"""Generation where memory or the range of half precision runs out."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.backends.diffusion import DiffusionModel
from generation.config import GenerateConfig
from generation.generate import GenerateStage
from pipeline.contracts.errors import ConfigError, StageError
from pipeline.contracts.stage import Fail, Item, Keep
from tests.unit.generation.drawing import PROMPTS
from tests.unit.generation.tiny_diffusion import save_sdxl


def test_batch_is_halved_when_memory_runs_out(tiny_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(tiny_config, batch_size=4))
    sizes: list[int] = []
    real = model._run

    def small_memory(prompts: Sequence[str], seeds: Sequence[int]) -> Any:
        sizes.append(len(prompts))
        if len(prompts) > 1:
            raise torch.OutOfMemoryError("too much")
        return real(prompts, seeds)

    monkeypatch.setattr(model, "_run", small_memory)
    assert len(model.generate(PROMPTS, [1, 2, 3])) == 3
    assert sizes == [3, 2, 1, 1, 1]


def test_a_decoder_that_ran_out_of_memory_decodes_the_smaller_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SDXL casts its float16 VAE to float32 while it decodes, and back only when that has succeeded."""
    half = GenerateConfig(model=str(save_sdxl(tmp_path)), device="cpu", dtype="float16", steps=1, batch_size=3)
    plain = [picture.image for picture in DiffusionModel(replace(half, batch_size=1)).generate(PROMPTS, [1, 2, 3])]
    model = DiffusionModel(half)
    vae = model._pipeline.vae
    real = vae.decode

    def small_memory(latents: torch.Tensor, *arguments: Any, **options: Any) -> Any:
        if len(latents) > 2:
            raise torch.OutOfMemoryError("too much")
        return real(latents, *arguments, **options)

    monkeypatch.setattr(vae, "decode", small_memory)
    pictures = model.generate(PROMPTS, [1, 2, 3])
    assert model.batch_size == 2
    assert [np.abs(a.image.astype(int) - b).max() <= 8 for a, b in zip(pictures, plain, strict=True)] == [True] * 3  # float16 rounds


def spoil(model: DiffusionModel, monkeypatch: pytest.MonkeyPatch, is_bad: Any) -> None:
    """What the decoder gives for the n-th picture, counted from 0, becomes NaN where is_bad(n), as an overflow makes it."""
    real, made = model._pipeline.vae.decode, count()

    def decode(*arguments: Any, **options: Any) -> Any:
        decoded = real(*arguments, **options)
        for picture in decoded[0]:
            if is_bad(next(made)):
                picture[0, 0, 0] = torch.nan
        return decoded

    monkeypatch.setattr(model._pipeline.vae, "decode", decode)


def test_a_picture_that_is_not_finite_fails_alone(
    tiny_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage = GenerateStage(replace(tiny_config, dtype="bfloat16", batch_size=2), run_seed=7)
    stage.setup()
    assert stage._model is not None
    spoil(stage._model, monkeypatch, lambda n: n == 1)
    items = [Item(f"{i:09d}_00", {"prompt": prompt}) for i, prompt in enumerate(PROMPTS)]
    first, second, third = stage.process(items)
    assert isinstance(first, Keep)
    assert isinstance(third, Keep)
    assert isinstance(second, Fail)
    assert (second.reason, second.detail) == ("not_finite", "values that are not finite in bfloat16; generate.dtype=float32 is exact")
    assert caplog.text.count("not_finite") == 1


def test_a_model_that_overflows_in_half_its_pictures_goes_on(tiny_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(tiny_config, steps=1))
    spoil(model, monkeypatch, lambda n: n % 2 == 1)
    pictures = model.generate(PROMPTS[:1] * 40, list(range(40)))
    assert [picture.not_finite is not None for picture in pictures] == [False, True] * 20


def test_a_model_that_always_overflows_is_refused_at_once(tiny_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(tiny_config, dtype="float16", steps=1, batch_size=4))
    spoil(model, monkeypatch, lambda _: True)
    with pytest.raises(ConfigError, match=r"8 of the first 8 pictures .*not finite in float16; generate\.dtype=bfloat16 reaches further"):
        model.generate(PROMPTS[:1] * 20, list(range(20)))


def test_a_picture_that_does_not_fit_is_a_stage_error(tiny_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(tiny_config, batch_size=1))

    def no_memory(prompts: Sequence[str], seeds: Sequence[int]) -> Any:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(model, "_run", no_memory)
    with pytest.raises(StageError, match="memory does not hold one picture"):
        model.generate(PROMPTS[:1], [1])
