"""Prompts to pictures through a real pipeline of diffusers with random weights."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.backends.diffusion import DiffusionModel
from generation.config import GenerateConfig
from generation.generate import GenerateStage
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.stage import Drop, Item
from tests.unit.generation.drawing import PROMPTS, pixels, run
from tests.unit.generation.tiny_diffusion import save_checker, save_diffusion


def test_row_says_what_made_the_picture(tiny_config: GenerateConfig) -> None:
    row = run(tiny_config)[0].row
    assert row["seed"] > 0
    made = row["generator"]
    assert (made["model"], made["steps"], made["guidance"], made["scheduler"]) == (
        f"./{Path(tiny_config.model).name}",
        2,
        3.0,
        "DDIMScheduler",
    )
    assert len(made["weights_sha256"]) == 64
    assert made["size"] == [32, 16]
    assert made["dtype"] == "float32"
    assert not {"prefix", "suffix", "negative_prompt"} & made.keys()


def test_row_says_what_was_drawn_beside_the_prompt(tiny_config: GenerateConfig) -> None:
    texts = {"prefix": "photo of ", "suffix": ", standing", "negative_prompt": "grey"}
    made = run(replace(tiny_config, **texts))[0].row["generator"]
    assert {name: made[name] for name in texts} == texts


def test_same_config_gives_same_bytes(tiny_config: GenerateConfig) -> None:
    assert [o.image for o in run(tiny_config)] == [o.image for o in run(tiny_config)]


def test_picture_depends_on_its_key_not_on_batch_or_order(tiny_config: GenerateConfig) -> None:
    together = run(tiny_config)
    alone = run(replace(tiny_config, batch_size=1), ("000000002_00", "000000000_00"))
    assert np.abs(pixels(together[2]) - pixels(alone[0])).max() <= 1  # rounding only
    assert np.abs(pixels(together[0]) - pixels(alone[1])).max() <= 1
    assert np.abs(pixels(together[0]) - pixels(together[1])).max() > 10


def test_weights_saved_for_another_task_draw_from_text(tiny_config: GenerateConfig, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny_config.model, folder)
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"))
    other = run(replace(tiny_config, model=str(folder)))
    assert other[0].row["generator"]["pipeline"] == "StableDiffusionPipeline"
    assert [o.image for o in other] == [o.image for o in run(tiny_config)]


def test_scheduler_is_chosen_by_name(tiny_config: GenerateConfig) -> None:
    outcome = run(replace(tiny_config, scheduler="EulerAncestralDiscreteScheduler"))[0]
    assert outcome.row["generator"]["scheduler"] == "EulerAncestralDiscreteScheduler"
    with pytest.raises(ConfigError, match=r"did you mean .*EulerDiscreteScheduler"):
        run(replace(tiny_config, scheduler="EulerDiscretScheduler"))


def test_stochastic_scheduler_stays_independent_of_the_batch(tiny_config: GenerateConfig) -> None:
    ancestral = replace(tiny_config, scheduler="EulerAncestralDiscreteScheduler")
    assert np.abs(pixels(run(ancestral)[1]) - pixels(run(replace(ancestral, batch_size=1))[1])).max() <= 1


def test_size_and_negative_prompt_reach_the_pipeline(tiny_config: GenerateConfig) -> None:
    outcome = run(replace(tiny_config, height=48, width=24))[0]
    assert pixels(outcome).shape == (48, 24, 3)
    assert outcome.row["generator"]["size"] == [48, 24]
    assert run(replace(tiny_config, negative_prompt="grey"))[0].image != run(tiny_config)[0].image


@pytest.mark.parametrize("change", [{"channels_last": False}, {"attention": "sliced"}, {"attention": "native"}, {"batch_size": 0}])
def test_settings_of_speed_change_rounding_at_most(tiny_config: GenerateConfig, change: dict[str, Any]) -> None:
    for one, other in zip(run(tiny_config), run(replace(tiny_config, **change)), strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1


@pytest.mark.parametrize("backend", ["warp", "flash", "xformers", "_native_math"])
def test_an_attention_backend_that_a_unet_would_pass_over_is_refused(tiny_config: GenerateConfig, backend: str) -> None:
    with pytest.raises(ConfigError, match=rf"generate\.attention='{backend}' has no effect on UNet2D.*: auto, native, sliced$"):
        run(replace(tiny_config, attention=backend))


def test_a_compiled_model_gets_batches_of_one_size(tiny_config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile itself takes a minute here; what is tested is that every call has the shape that it was compiled for."""
    seen: list[int] = []

    def fake(module: torch.nn.Module) -> torch.nn.Module:
        module.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
        return module

    plain = run(tiny_config)
    monkeypatch.setattr(torch, "compile", fake)
    compiled = run(replace(tiny_config, compile=True, batch_size=2))
    assert set(seen) == {4}  # two pictures, with and without the prompt
    assert len(compiled) == 3
    assert all(np.abs(pixels(a) - pixels(b)).max() <= 1 for a, b in zip(plain, compiled, strict=True))


def test_what_the_safety_checker_takes_for_unsafe_is_dropped(tmp_path: Path) -> None:
    folder = save_checker(save_diffusion(tmp_path / "flagging"), flags=True)
    checked = GenerateConfig(model=str(folder), device="cpu", steps=1, safety_checker=True)
    stage = GenerateStage(checked, run_seed=7)
    stage.setup()
    (outcome,) = stage.process([Item("000000000_00", {"prompt": "a man"})])
    assert isinstance(outcome, Drop)
    assert outcome.reason == "unsafe_image"
    assert outcome.row["generator"]["model"] == "./flagging"
    assert len(run(replace(checked, safety_checker=False), ("000000000_00",))) == 1
    calm = save_checker(save_diffusion(tmp_path / "calm"), flags=False)
    assert len(run(replace(checked, model=str(calm)), ("000000000_00",))) == 1


def test_a_prompt_that_is_too_long_for_the_encoder_is_named_once(tiny_config: GenerateConfig, caplog: pytest.LogCaptureFixture) -> None:
    model = DiffusionModel(replace(tiny_config, steps=1))
    model.generate(PROMPTS, [1, 2, 3])
    assert "tokens of" not in caplog.text
    for _ in range(2):
        model.generate(["a man " * 40], [1])
    assert caplog.text.count("longer prompts are cut (said once)") == 1
