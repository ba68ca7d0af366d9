"""Families of models, each by its own pipeline class: what each of them reads and refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generation.backends.diffusion import DiffusionModel
from generation.config import GenerateConfig
from pipeline.contracts.errors import ConfigError
from tests.unit.generation.drawing import PROMPTS, pixels, run
from tests.unit.generation.tiny_diffusion import save_diffusion, save_flux, save_lcm, save_lora, save_qwen_image, save_sana, save_sdxl


@pytest.mark.parametrize(
    ("save", "name", "size"),
    [
        (save_sdxl, "StableDiffusionXLPipeline", (32, 16)),
        (save_flux, "FluxPipeline", (32, 16)),
        (save_sana, "SanaPipeline", (64, 32)),
        (save_qwen_image, "QwenImagePipeline", (64, 32)),
        (save_lcm, "LatentConsistencyModelPipeline", (32, 16)),
    ],
)
def test_other_families_run_by_their_own_pipeline_class(save: Any, name: str, size: tuple[int, int], tmp_path: Path) -> None:
    negative = "" if save in (save_flux, save_lcm) else "grey"
    config = GenerateConfig(
        model=str(save(tmp_path)), device="cpu", steps=1, guidance=3.0, height=size[0], width=size[1], negative_prompt=negative
    )
    together = run(config)
    assert together[0].row["generator"]["pipeline"] == name
    assert together[0].row["generator"]["size"] == list(size)
    alone = run(replace(config, batch_size=1), ("000000001_00",))
    assert np.abs(pixels(together[1]) - pixels(alone[0])).max() <= 1  # rounding only
    assert [o.image for o in run(config)] == [o.image for o in together]


@pytest.mark.parametrize(("save", "size"), [(save_sdxl, (32, 16)), (save_flux, (32, 16)), (save_sana, (64, 32)), (save_lcm, (32, 16))])
def test_a_lora_is_fused_into_every_family(save: Any, size: tuple[int, int], tmp_path: Path) -> None:
    model = save(tmp_path / "model")
    config = GenerateConfig(model=str(model), device="cpu", steps=1, height=size[0], width=size[1])
    styled = replace(config, lora=str(save_lora(model, tmp_path / "style.safetensors")))
    made = [run(one, ("000000000_00",))[0] for one in (config, styled, replace(styled, lora_scale=0.0))]
    plain, changed, unchanged = (pixels(outcome) for outcome in made)
    assert np.abs(plain - changed).max() > 3
    assert np.abs(plain - unchanged).max() <= 1
    assert made[1].row["generator"]["lora"]["file"] == "style.safetensors"


@pytest.mark.parametrize("as_stable_diffusion", [False, True])
def test_a_latent_consistency_model_is_told_the_guidance_and_reads_no_negative_prompt(as_stable_diffusion: bool, tmp_path: Path) -> None:
    folder = save_lcm(tmp_path, as_stable_diffusion=as_stable_diffusion)
    config = GenerateConfig(model=str(folder), device="cpu", steps=4, guidance=8.0, height=32, width=16)
    strong, weak = (run(one, ("000000000_00",))[0] for one in (config, replace(config, guidance=2.0)))
    assert [o.row["generator"]["guidance"] for o in (strong, weak)] == [8.0, 2.0]
    assert strong.row["generator"]["scheduler"] == "LCMScheduler"
    assert strong.image != weak.image
    with pytest.raises(ConfigError, match=r"generate\.negative_prompt='grey': \w+ with these weights reads none"):
        run(replace(config, negative_prompt="grey"))


@pytest.mark.parametrize("scheduler", ["EulerDiscreteScheduler", "LCMScheduler"])
def test_turbo_weights_draw_in_one_step_without_guidance(scheduler: str, tmp_path: Path) -> None:
    for save in (save_diffusion, save_sdxl):
        folder = save(tmp_path / save.__name__)
        config = GenerateConfig(model=str(folder), device="cpu", steps=1, guidance=0.0, scheduler=scheduler, height=32, width=16)
        assert run(config)[0].row["generator"]["guidance"] == 0.0
        assert pixels(run(config)[0]).std() > 1


def test_guidance_of_qwen_image_is_its_true_scale(tmp_path: Path) -> None:
    """Its guidance_scale does nothing, and neither scale does without a negative prompt."""
    weak = GenerateConfig(model=str(save_qwen_image(tmp_path)), device="cpu", steps=2, guidance=2.0, height=32, width=32)
    strong, none, other = (replace(weak, **change) for change in ({"guidance": 9.0}, {"guidance": 1.0}, {"negative_prompt": "red hat"}))
    made = [run(one, ("000000000_00",))[0] for one in (weak, strong, none, other)]
    assert len({outcome.image for outcome in made}) == 4
    assert [outcome.row["generator"]["guidance"] for outcome in made] == [2.0, 9.0, 1.0, 2.0]


def test_a_negative_prompt_that_flux_does_not_read_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dev = GenerateConfig(model=str(save_flux(tmp_path / "dev")), device="cpu", steps=1, height=32, width=32)
    with pytest.raises(ConfigError, match=r"generate\.negative_prompt='grey': FluxPipeline .*reads none"):
        run(replace(dev, negative_prompt="grey"))
    assert run(dev)[0].row["generator"]["guidance"] == 4.0
    assert "reads no generate.guidance" not in caplog.text
    schnell = replace(dev, model=str(save_flux(tmp_path / "schnell", guidance_embeds=False)))
    plain = run(schnell)[0]
    assert plain.row["generator"]["guidance"] is None
    assert "FluxPipeline with these weights reads no generate.guidance" in caplog.text
    guided = run(replace(schnell, negative_prompt="grey"))[0]
    assert guided.row["generator"]["guidance"] == 4.0
    assert guided.image != plain.image


def test_sdxl_without_a_negative_prompt_gives_its_own_picture(tmp_path: Path) -> None:
    """It takes zeros for no negative prompt, which is not the encoding of an empty text."""
    from diffusers import DiffusionPipeline

    config = GenerateConfig(model=str(save_sdxl(tmp_path)), device="cpu", steps=2, channels_last=False)
    pipeline = DiffusionPipeline.from_pretrained(tmp_path)
    made = pipeline(
        PROMPTS[0], num_inference_steps=2, guidance_scale=4.0, generator=torch.Generator("cpu").manual_seed(5), output_type="np"
    )
    (picture,) = DiffusionModel(config).generate(PROMPTS[:1], [5])
    assert np.abs(picture.image - np.round(made.images[0] * 255)).max() <= 1


@pytest.mark.parametrize(("save", "name"), [(save_diffusion, "StableDiffusionPipeline"), (save_flux, "FluxPipeline")])
def test_a_safety_checker_that_is_not_there_is_refused(save: Any, name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"generate\.safety_checker=true, but .*\({name}\) has none"):
        run(GenerateConfig(model=str(save(tmp_path)), device="cpu", steps=1, safety_checker=True))


def test_times_that_a_scheduler_does_not_take_are_a_config_error(tmp_path: Path) -> None:
    config = GenerateConfig(model=str(save_flux(tmp_path)), device="cpu", steps=1, height=32, width=32)
    with pytest.raises(ConfigError, match=r"refuses these settings with generate\.scheduler='SASolverScheduler': .*set_timesteps"):
        run(replace(config, scheduler="SASolverScheduler"), ("000000000_00",))


def test_settings_that_the_family_refuses_are_a_config_error(tmp_path: Path) -> None:
    config = GenerateConfig(model=str(save_sana(tmp_path, sample_size=24)), device="cpu", steps=1, height=64, width=32)
    with pytest.raises(ConfigError, match="refuses these settings: Invalid sample size"):
        run(config, ("000000000_00",))


def test_a_transformer_takes_backends(tmp_path: Path) -> None:
    config = GenerateConfig(model=str(save_flux(tmp_path)), device="cpu", steps=1, height=32, width=32)
    plain = run(config)
    for one, other in zip(plain, run(replace(config, attention="_native_math")), strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1
