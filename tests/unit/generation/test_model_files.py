"""Folders of weights: whole, half, as variants, on the hub, and LoRA files beside them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from generation.config import GenerateConfig
from pipeline.contracts.errors import ConfigError
from tests.unit.generation.drawing import pixels, run
from tests.unit.generation.tiny_diffusion import save_diffusion, save_lora


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "/nowhere/sd15"}, "no such folder"),
        ({"model": "./sd15"}, "no such folder"),
        ({"device": "cuda:99"}, "CUDA devices are visible"),
        ({"revision": "v1"}, r"generate\.revision='v1', but generate\.model=.* is a folder"),
    ],
)
def test_what_is_not_there_is_refused(tiny_config: GenerateConfig, change: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(replace(tiny_config, **change))


def test_a_folder_that_is_no_pipeline_is_refused(tiny_config: GenerateConfig, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no model_index\.json"):
        run(replace(tiny_config, model=str(tmp_path)))


def test_a_folder_that_lacks_a_part_is_refused(tmp_path: Path) -> None:
    folder = save_diffusion(tmp_path / "model")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ConfigError, match="does not load"):
        run(GenerateConfig(model=str(folder), device="cpu", steps=1))


def save_as_variant(folder: Path, variant: str, into: Path) -> Path:
    from diffusers import DiffusionPipeline

    DiffusionPipeline.from_pretrained(folder).save_pretrained(into, variant=variant)
    return into


def test_weights_that_are_published_as_a_variant_only_are_used(tiny_config: GenerateConfig, tiny_folder: Path, tmp_path: Path) -> None:
    only = run(replace(tiny_config, model=str(save_as_variant(tiny_folder, "fp16", tmp_path / "only"))))
    plain = run(tiny_config)
    assert [o.image for o in only] == [o.image for o in plain]
    assert only[0].row["generator"]["variant"] == "fp16"
    assert "variant" not in plain[0].row["generator"]


def test_a_variant_beside_plain_weights_is_chosen_by_name(tiny_config: GenerateConfig, tmp_path: Path) -> None:
    both = save_diffusion(tmp_path / "both", seed=1)
    other = save_as_variant(save_diffusion(tmp_path / "other", seed=2), "fp16", tmp_path / "fp16")
    shutil.copy(other / "unet" / "diffusion_pytorch_model.fp16.safetensors", both / "unet")
    plain = run(replace(tiny_config, model=str(both)))[0]
    named = run(replace(tiny_config, model=str(both), variant="fp16"))[0]
    assert plain.image != named.image
    assert plain.row["generator"]["weights_sha256"] != named.row["generator"]["weights_sha256"]
    with pytest.raises(ConfigError, match=r"generate\.variant='bf16': .*; accepted: null, fp16"):
        run(replace(tiny_config, model=str(both), variant="bf16"))


def test_a_name_on_the_hub_is_fetched_in_the_variant_that_it_has(
    tiny_config: GenerateConfig, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub itself is not reached by tests: what is faked is its listing, and that diffusers refuses to fetch what is not there."""
    import diffusers
    import huggingface_hub

    only = save_as_variant(tiny_folder, "fp16", tmp_path / "models--org--name" / "snapshots" / "0123abc")
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
    tiny_config = replace(tiny_config, model="org/name", revision="v1")
    made = run(tiny_config)[0].row["generator"]
    assert (made["variant"], made["revision"]) == ("fp16", "0123abc")
    assert asked == [None, "fp16"]
    with pytest.raises(ConfigError, match=r"fetching it from the model hub failed .*necessary `safetensors`"):
        run(replace(tiny_config, variant="bf16"))


@pytest.mark.parametrize("weights", ["unet/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"])
def test_a_weight_file_that_was_copied_by_half_is_refused(weights: str, tmp_path: Path) -> None:
    folder = save_diffusion(tmp_path / "model")
    cut(folder / weights)
    with pytest.raises(ConfigError, match=r"generate\.model=.* does not load"):
        run(GenerateConfig(model=str(folder), device="cpu", steps=1))


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def test_a_lora_is_fused_at_its_scale_and_recorded(tiny_config: GenerateConfig, tiny_folder: Path, tmp_path: Path) -> None:
    file = save_lora(tiny_folder, tmp_path / "style.safetensors")
    plain, styled = run(tiny_config)[0], run(replace(tiny_config, lora=str(file)))[0]
    none = run(replace(tiny_config, lora=str(file), lora_scale=0.0))[0]
    assert np.abs(pixels(plain) - pixels(styled)).max() > 3
    assert np.abs(pixels(plain) - pixels(none)).max() <= 1
    said = styled.row["generator"]["lora"]
    assert (said["file"], said["scale"], len(said["sha256"])) == ("style.safetensors", 1.0, 64)
    assert "lora" not in plain.row["generator"]


def test_a_lora_that_does_not_fit_is_refused(tiny_config: GenerateConfig, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"unet.nowhere.lora_A.weight": torch.ones(2, 2), "unet.nowhere.lora_B.weight": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=r"generate\.lora=.* does not fit"):
        run(replace(tiny_config, lora=str(tmp_path / "x.safetensors")))
    cut(tmp_path / "x.safetensors")
    with pytest.raises(ConfigError, match=r"generate\.lora=.* is damaged"):
        run(replace(tiny_config, lora=str(tmp_path / "x.safetensors")))
    with pytest.raises(ConfigError, match=r"generate\.lora=.* does not exist"):
        run(replace(tiny_config, lora=str(tmp_path / "none.safetensors")))
