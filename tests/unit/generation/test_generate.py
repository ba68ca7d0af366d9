"""Prompts to pictures through real pipelines of diffusers with random weights."""

import shutil
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
from generation.images import decode_rgb
from pipeline.contracts.errors import ConfigError, StageError
from pipeline.contracts.stage import Drop, Fail, Item, Keep
from tests.unit.generation.tiny_models import save_checker, save_diffusion, save_flux, save_lora, save_qwen_image, save_sana, save_sdxl

PROMPTS = ("a man in a red shirt", "a woman in a blue dress", "a boy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_diffusion(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture(scope="module")
def config(folder: Path) -> GenerateConfig:
    return GenerateConfig(model=str(folder), device="cpu", steps=2, guidance=3.0)


def run(config: GenerateConfig, keys: Sequence[str] = ("000000000_00", "000000001_00", "000000002_00")) -> list[Keep]:
    stage = GenerateStage(config, run_seed=7)
    stage.setup()
    items = [Item(key, {"prompt": PROMPTS[int(key[:9])]}) for key in keys]
    outcomes = [stage.process(items[i : i + stage.batch_size]) for i in range(0, len(items), stage.batch_size)]
    stage.teardown()
    flat = [outcome for batch in outcomes for outcome in batch]
    assert all(isinstance(outcome, Keep) for outcome in flat)
    return flat  # type: ignore[return-value]


def pixels(outcome: Keep) -> np.ndarray:
    assert outcome.image is not None
    return decode_rgb(outcome.image).astype(int)


def test_row_says_what_made_the_picture(config: GenerateConfig) -> None:
    row = run(config)[0].row
    assert row["seed"] > 0
    made = row["generator"]
    assert (made["model"], made["steps"], made["guidance"], made["scheduler"]) == (config.model, 2, 3.0, "DDIMScheduler")
    assert len(made["weights_sha256"]) == 64
    assert made["size"] == [32, 16]
    assert made["dtype"] == "float32"


def test_same_config_gives_same_bytes(config: GenerateConfig) -> None:
    assert [o.image for o in run(config)] == [o.image for o in run(config)]


def test_picture_depends_on_its_key_not_on_batch_or_order(config: GenerateConfig) -> None:
    together = run(config)
    alone = run(replace(config, batch_size=1), ("000000002_00", "000000000_00"))
    assert np.abs(pixels(together[2]) - pixels(alone[0])).max() <= 1  # rounding only
    assert np.abs(pixels(together[0]) - pixels(alone[1])).max() <= 1
    assert np.abs(pixels(together[0]) - pixels(together[1])).max() > 10


def test_weights_saved_for_another_task_draw_from_text(config: GenerateConfig, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(config.model, folder)
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline"))
    other = run(replace(config, model=str(folder)))
    assert other[0].row["generator"]["pipeline"] == "StableDiffusionPipeline"
    assert [o.image for o in other] == [o.image for o in run(config)]


def test_scheduler_is_chosen_by_name(config: GenerateConfig) -> None:
    outcome = run(replace(config, scheduler="EulerAncestralDiscreteScheduler"))[0]
    assert outcome.row["generator"]["scheduler"] == "EulerAncestralDiscreteScheduler"
    with pytest.raises(ConfigError, match=r"did you mean .*EulerDiscreteScheduler"):
        run(replace(config, scheduler="EulerDiscretScheduler"))


def test_stochastic_scheduler_stays_independent_of_the_batch(config: GenerateConfig) -> None:
    ancestral = replace(config, scheduler="EulerAncestralDiscreteScheduler")
    assert np.abs(pixels(run(ancestral)[1]) - pixels(run(replace(ancestral, batch_size=1))[1])).max() <= 1


def test_size_and_negative_prompt_reach_the_pipeline(config: GenerateConfig) -> None:
    outcome = run(replace(config, height=48, width=24))[0]
    assert pixels(outcome).shape == (48, 24, 3)
    assert outcome.row["generator"]["size"] == [48, 24]
    assert run(replace(config, negative_prompt="grey"))[0].image != run(config)[0].image
    with pytest.raises(ConfigError, match=r"generate\.negative_prompt='grey'.* guidance above 1"):
        replace(config, guidance=1.0, negative_prompt="grey")


def test_batch_is_halved_when_memory_runs_out(config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(config, batch_size=4))
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
    config: GenerateConfig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stage = GenerateStage(replace(config, dtype="bfloat16", batch_size=2), run_seed=7)
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


def test_a_model_that_overflows_in_half_its_pictures_goes_on(config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(config, steps=1))
    spoil(model, monkeypatch, lambda n: n % 2 == 1)
    pictures = model.generate(PROMPTS[:1] * 40, list(range(40)))
    assert [picture.not_finite is not None for picture in pictures] == [False, True] * 20


def test_a_model_that_always_overflows_is_refused_at_once(config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(config, dtype="float16", steps=1, batch_size=4))
    spoil(model, monkeypatch, lambda _: True)
    with pytest.raises(ConfigError, match=r"8 of the first 8 pictures .*not finite in float16; generate\.dtype=bfloat16 reaches further"):
        model.generate(PROMPTS[:1] * 20, list(range(20)))


def test_a_picture_that_does_not_fit_is_a_stage_error(config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    model = DiffusionModel(replace(config, batch_size=1))

    def no_memory(prompts: Sequence[str], seeds: Sequence[int]) -> Any:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr(model, "_run", no_memory)
    with pytest.raises(StageError, match="memory does not hold one picture"):
        model.generate(PROMPTS[:1], [1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "/nowhere/sd15"}, "no such folder"),
        ({"model": "./sd15"}, "no such folder"),
        ({"device": "cuda:99"}, "CUDA devices are visible"),
        ({"revision": "v1"}, r"generate\.revision='v1', but generate\.model=.* is a folder"),
    ],
)
def test_what_is_not_there_is_refused(config: GenerateConfig, change: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(replace(config, **change))


def test_a_folder_that_is_no_pipeline_is_refused(config: GenerateConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model_index\.json"):
        run(replace(config, model=str(tmp_path)))


def test_a_folder_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    folder = save_diffusion(tmp_path / "model")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="does not load"):
        run(GenerateConfig(model=str(folder), device="cpu", steps=1))


def save_as_variant(folder: Path, variant: str, into: Path) -> Path:
    from diffusers import DiffusionPipeline

    DiffusionPipeline.from_pretrained(folder).save_pretrained(into, variant=variant)
    return into


def test_weights_that_are_published_as_a_variant_only_are_used(config: GenerateConfig, folder: Path, tmp_path: Path) -> None:
    only = run(replace(config, model=str(save_as_variant(folder, "fp16", tmp_path / "only"))))
    plain = run(config)
    assert [o.image for o in only] == [o.image for o in plain]
    assert only[0].row["generator"]["variant"] == "fp16"
    assert "variant" not in plain[0].row["generator"]


def test_a_variant_beside_plain_weights_is_chosen_by_name(config: GenerateConfig, tmp_path: Path) -> None:
    both = save_diffusion(tmp_path / "both", seed=1)
    other = save_as_variant(save_diffusion(tmp_path / "other", seed=2), "fp16", tmp_path / "fp16")
    shutil.copy(other / "unet" / "diffusion_pytorch_model.fp16.safetensors", both / "unet")
    plain = run(replace(config, model=str(both)))[0]
    named = run(replace(config, model=str(both), variant="fp16"))[0]
    assert plain.image != named.image
    assert plain.row["generator"]["weights_sha256"] != named.row["generator"]["weights_sha256"]
    with pytest.raises(ConfigError, match=r"does not load .*variant=bf16"):
        run(replace(config, model=str(both), variant="bf16"))


def test_a_name_on_the_hub_is_fetched_in_the_variant_that_it_has(
    config: GenerateConfig, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub itself is not reached by tests: what is faked is its listing, and that diffusers refuses to fetch what is not there."""
    import diffusers
    import huggingface_hub

    only = save_as_variant(folder, "fp16", tmp_path / "models--org--name" / "snapshots" / "0123abc")
    asked: list[str | None] = []

    def download(name: str, *, use_safetensors: bool, variant: str | None, revision: str | None) -> str:
        assert revision == "v1"
        asked.append(variant)
        if variant != "fp16":
            raise OSError("Could not find the necessary `safetensors` weights")
        return str(only)

    names = [path.relative_to(only).as_posix() for path in only.rglob("*") if path.is_file()]
    monkeypatch.setattr(diffusers.DiffusionPipeline, "download", download)
    monkeypatch.setattr(huggingface_hub, "list_repo_files", lambda name, revision: names if revision == "v1" else [])
    config = replace(config, model="org/name", revision="v1")
    made = run(config)[0].row["generator"]
    assert (made["variant"], made["revision"]) == ("fp16", "0123abc")
    assert asked == [None, "fp16"]
    with pytest.raises(ConfigError, match=r"fetching it from the model hub failed .*necessary `safetensors`"):
        run(replace(config, variant="bf16"))


@pytest.mark.parametrize("weights", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_a_weight_file_that_was_copied_by_half_is_refused(weights: str, tmp_path: Path) -> None:
    folder = save_diffusion(tmp_path / "model")
    cut(folder / weights)
    with pytest.raises(ConfigError, match=r"generate\.model=.* does not load"):
        run(GenerateConfig(model=str(folder), device="cpu", steps=1))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


@pytest.mark.parametrize(
    ("save", "name", "size"),
    [
        (save_sdxl, "StableDiffusionXLPipeline", (32, 16)),
        (save_flux, "FluxPipeline", (32, 16)),
        (save_sana, "SanaPipeline", (64, 32)),
        (save_qwen_image, "QwenImagePipeline", (64, 32)),
    ],
)
def test_other_families_run_by_their_own_pipeline_class(save: Any, name: str, size: tuple[int, int], tmp_path: Path) -> None:
    negative = "" if save is save_flux else "grey"
    config = GenerateConfig(
        model=str(save(tmp_path)), device="cpu", steps=1, guidance=3.0, height=size[0], width=size[1], negative_prompt=negative
    )
    together = run(config)
    assert together[0].row["generator"]["pipeline"] == name
    assert together[0].row["generator"]["size"] == list(size)
    alone = run(replace(config, batch_size=1), ("000000001_00",))
    assert np.abs(pixels(together[1]) - pixels(alone[0])).max() <= 1  # rounding only
    assert [o.image for o in run(config)] == [o.image for o in together]


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


def test_a_lora_is_fused_at_its_scale_and_recorded(config: GenerateConfig, folder: Path, tmp_path: Path) -> None:
    file = save_lora(folder, tmp_path / "style.safetensors")
    plain, styled = run(config)[0], run(replace(config, lora=str(file)))[0]
    none = run(replace(config, lora=str(file), lora_scale=0.0))[0]
    assert np.abs(pixels(plain) - pixels(styled)).max() > 3
    assert np.abs(pixels(plain) - pixels(none)).max() <= 1
    said = styled.row["generator"]["lora"]
    assert (said["file"], said["scale"], len(said["sha256"])) == ("style.safetensors", 1.0, 64)
    assert "lora" not in plain.row["generator"]


def test_a_lora_that_does_not_fit_is_refused(config: GenerateConfig, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"unet.nowhere.lora_A.weight": torch.ones(2, 2), "unet.nowhere.lora_B.weight": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=r"generate\.lora=.* does not fit"):
        run(replace(config, lora=str(tmp_path / "x.safetensors")))
    cut(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=r"generate\.lora=.* is damaged"):
        run(replace(config, lora=str(tmp_path / "x.safetensors")))
    with pytest.raises(ConfigError, match=r"generate\.lora=.* does not exist"):
        run(replace(config, lora=str(tmp_path / "none.safetensors")))


@pytest.mark.parametrize("change", [{"channels_last": False}, {"attention": "sliced"}, {"attention": "native"}, {"batch_size": 0}])
def test_settings_of_speed_change_rounding_at_most(config: GenerateConfig, change: dict[str, Any]) -> None:
    for one, other in zip(run(config), run(replace(config, **change)), strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1


@pytest.mark.parametrize("backend", ["warp", "flash", "xformers", "_native_math"])
def test_an_attention_backend_that_a_unet_would_pass_over_is_refused(config: GenerateConfig, backend: str) -> None:
    with pytest.raises(ConfigError, match=rf"generate\.attention='{backend}' has no effect on UNet2D.*: auto, native, sliced$"):
        run(replace(config, attention=backend))


def test_a_transformer_takes_backends_and_no_slices(tmp_path: Path) -> None:
    config = GenerateConfig(model=str(save_flux(tmp_path)), device="cpu", steps=1, height=32, width=32)
    plain = run(config)
    for one, other in zip(plain, run(replace(config, attention="_native_math")), strict=True):
        assert np.abs(pixels(one) - pixels(other)).max() <= 1
    with pytest.raises(ConfigError, match=r"'sliced' has no effect on FluxTransformer2DModel; .*: auto, native, a backend of diffusers"):
        run(replace(config, attention="sliced"))
    with pytest.raises(ConfigError, match=r"generate\.attention='warp': .*must be one of.*accepted with this model: auto"):
        run(replace(config, attention="warp"))


def test_a_compiled_model_gets_batches_of_one_size(config: GenerateConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.compile itself takes a minute here; what is tested is that every call has the shape that it was compiled for."""
    seen: list[int] = []

    def fake(module: torch.nn.Module) -> torch.nn.Module:
        module.register_forward_pre_hook(lambda _, arguments: seen.append(len(arguments[0])))
        return module

    plain = run(config)
    monkeypatch.setattr(torch, "compile", fake)
    compiled = run(replace(config, compile=True, batch_size=2))
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
    assert outcome.row["generator"]["model"] == str(folder)
    assert len(run(replace(checked, safety_checker=False), ("000000000_00",))) == 1
    calm = save_checker(save_diffusion(tmp_path / "calm"), flags=False)
    assert len(run(replace(checked, model=str(calm)), ("000000000_00",))) == 1


def test_a_prompt_that_is_too_long_for_the_encoder_is_named_once(config: GenerateConfig, caplog: pytest.LogCaptureFixture) -> None:
    model = DiffusionModel(replace(config, steps=1))
    model.generate(PROMPTS, [1, 2, 3])
    assert "tokens of" not in caplog.text
    for _ in range(2):
        model.generate(["a man " * 40], [1])
    assert caplog.text.count("longer prompts are cut (said once)") == 1
