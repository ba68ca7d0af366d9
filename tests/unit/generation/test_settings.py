"""Settings of generate that a model does not take: refused before anything is queued, in the words of the task that would load it."""

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest

from generation.backends.attention import check_attention_of_parts
from generation.backends.diffusion import DiffusionModel
from generation.backends.schedulers import check_family
from generation.config import GenerateConfig, GenerationConfig
from generation.digests import stage_digests
from pipeline.contracts.errors import ConfigError
from tests.unit.generation.tiny_diffusion import save_diffusion, save_flux, save_sana

NO_GUIDANCE = GenerateConfig(guidance=1.0, negative_prompt="grey")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {"sd": save_diffusion(folder / "sd"), "flux": save_flux(folder / "flux"), "sana": save_sana(folder / "sana")}


def refusal(ask: Callable[[], Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        ask()
    return str(caught.value)


@pytest.mark.parametrize(
    ("model", "field", "value", "accepted"),
    [
        ("sd", "revision", "abc", "null"),
        ("sd", "variant", "nope", "null"),
        ("sd", "scheduler", "FlowMatchEulerDiscreteScheduler", "DDIMParallelScheduler, DDIMScheduler"),
        ("sd", "attention", "flash", "auto, native, sliced"),
        ("sd", "safety_checker", True, "false"),
        ("flux", "scheduler", "DDIMScheduler", "DEISMultistepScheduler"),
        ("flux", "attention", "sliced", "auto, native, a backend of diffusers"),
        ("flux", "attention", "warp", "auto, native, a backend of diffusers"),
        ("sana", "attention", "flash", "auto, native"),
    ],
)
def test_what_a_model_does_not_take_is_refused_before_it_is_loaded(
    folders: dict[str, Path], model: str, field: str, value: Any, accepted: str
) -> None:
    config = GenerateConfig(model=str(folders[model]), device="cpu", **{field: value})
    said = refusal(lambda: stage_digests(GenerationConfig(generate=config)))
    assert f"generate.{field}=" in said
    assert accepted in said.partition("accepted")[2]
    assert refusal(lambda: DiffusionModel(config)) == said


@pytest.mark.parametrize(
    ("model", "change"),
    [
        ("sd", {"scheduler": "EulerDiscreteScheduler", "attention": "sliced"}),
        ("flux", {"scheduler": "UniPCMultistepScheduler", "attention": "_native_math"}),
        ("org/name", {"revision": "v1", "variant": "fp16", "scheduler": "DDIMScheduler", "attention": "flash"}),
    ],
)
def test_what_it_takes_or_nobody_knows_is_accepted(folders: dict[str, Path], model: str, change: dict[str, Any]) -> None:
    stage_digests(GenerationConfig(generate=GenerateConfig(model=str(folders.get(model, model)), **change)))


@pytest.mark.parametrize("transformer", ["ChromaTransformer2DModel", "QwenImageTransformer2DModel", "TransformerOfTomorrow"])
def test_backends_are_taken_by_a_transformer_that_borrows_its_attention_or_that_nobody_knows(transformer: str) -> None:
    check_attention_of_parts("flash", {"transformer": transformer})


def test_nothing_heavy_is_loaded_for_it(folders: dict[str, Path]) -> None:
    code = (
        "import sys; from generation.config import *; from generation.digests import stage_digests\n"
        f"generate = GenerateConfig(model={str(folders['flux'])!r}, scheduler='UniPCMultistepScheduler', attention='_native_math')\n"
        "stage_digests(GenerationConfig(generate=generate)); sys.exit(bool({'torch', 'diffusers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_index_that_cannot_be_read_is_named(tmp_path: Path, folders: dict[str, Path]) -> None:
    (tmp_path / "model_index.json").write_text('{"unet": ')
    config = GenerationConfig(generate=GenerateConfig(model=str(tmp_path)))
    assert "model_index.json cannot be read" in refusal(lambda: stage_digests(config))
    (tmp_path / "model_index.json").write_text(json.dumps([]))
    assert "model_index.json holds a list" in refusal(lambda: stage_digests(config))


def fitting(own: str) -> set[str]:
    """The schedulers of diffusers that are accepted for a model whose own is `own`."""

    def fits(name: str) -> bool:
        try:
            check_family(name, own, {})
        except ConfigError:
            return False
        return True

    return {name for name in dir(diffusers) if name.endswith("Scheduler") and fits(name)}


def test_solvers_of_flows_are_those_that_can_be_told_so() -> None:
    told = {
        name for name in fitting("DDIMScheduler") if "use_flow_sigmas" in inspect.signature(getattr(diffusers, name).__init__).parameters
    }
    assert {name for name in fitting("FlowMatchEulerDiscreteScheduler") if not name.startswith("FlowMatch")} == told


def test_a_negative_prompt_that_nothing_reads_is_refused() -> None:
    said = refusal(lambda: stage_digests(GenerationConfig(generate=NO_GUIDANCE)))
    assert "generate.negative_prompt='grey'" in said
    assert "guidance above 1" in said
