"""Settings, digests, and the shipped recipes."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation.backends.device import likes_channels_last, resolve_device, resolve_dtype
from generation.backends.model_files import find_model, find_variant, weights_sha256
from generation.config import CaptionConfig, GenerateConfig, GenerationConfig, PluginConfig, PromptsConfig, RunConfig, ShardConfig
from generation.digests import describe, stage_digests
from generation.stages import STAGES
from pipeline import graph
from pipeline.config import build, load, to_dict
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import sha256_file
from tests.unit.generation.tiny_diffusion import save_diffusion
from tests.unit.generation.tiny_models import save_blip

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "configs" / "generation").glob("*.yaml"))


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GenerationConfig:
    folder = tmp_path_factory.mktemp("models")
    return GenerationConfig(
        generate=GenerateConfig(model=str(save_diffusion(folder / "sd"))), caption=CaptionConfig(model=str(save_blip(folder / "blip")))
    )


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_recipe_loads_and_says_how_it_is_used(path: Path) -> None:
    load(GenerationConfig, path)
    assert f"passerby run {path.relative_to(ROOT).as_posix()}" in path.read_text(encoding="utf-8")


def test_all_three_recipes_are_there() -> None:
    assert {path.stem for path in RECIPES} >= {"demo", "embedded", "stable_diffusion"}


def test_resolved_config_loads_as_the_same_config() -> None:
    config = load(GenerationConfig, RECIPES[0], ["filter.thresholds.max_noise_sigma=null", "generate.guidance=5"])
    assert build(GenerationConfig, to_dict(config), "again") == config
    assert config.filter.thresholds.max_noise_sigma is None


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean generate\.guidance"):
        build(GenerationConfig, {"generate": {"guidence": 2}}, "recipe")


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("run", {"name": "a/b"}),
        ("run", {"unit_size": 0}),
        ("generate", {"device": "cdua"}),
        ("generate", {"device": "cuda:x"}),
        ("generate", {"device": "cuda:"}),
        ("generate", {"device": "cpu:1"}),
        ("generate", {"height": 80_000, "width": 64}),
        ("recrop", {"height": 10**6}),
        ("generate", {"dtype": "int8"}),
        ("generate", {"height": 250, "width": 128}),
        ("generate", {"height": 256}),
        ("generate", {"steps": 0}),
        ("filter", {"num_workers": -1}),
        ("filter", {"thresholds": {"min_presence": 2.0}}),
        ("caption", {"max_new_tokens": 3}),
        ("annotate", {"text": "title"}),
        ("shard", {"val_fraction": 1.0}),
        ("shard", {"max_hash_distance": 5}),
        ("shard", {"max_shard_bytes": 1000}),
        ("annotate", {"precedence": "both"}),
        ("caption", {"choose": "best"}),
        ("caption", {"num_candidates": 0}),
        ("prompts", {"max_similarity": 0}),
        ("generate", {"batch_size": -1}),
    ],
)
def test_impossible_values_are_refused(section: str, values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=rf"{section}\.\w+"):
        build(GenerationConfig, {section: values}, "recipe")


def test_stages_are_those_of_the_graph() -> None:
    assert [spec.name for spec in graph.STAGES] == list(STAGES)


def test_digest_changes_from_the_changed_stage_on(config: GenerationConfig) -> None:
    before = stage_digests(config)
    after = stage_digests(replace(config, recrop=replace(config.recrop, height=128)))
    assert [name for name in STAGES if before[name] != after[name]] == ["recrop", "caption", "annotate", "shard"]
    seeded = stage_digests(replace(config, run=RunConfig(seed=1)))
    assert all(before[name] != seeded[name] for name in STAGES)


def test_names_folders_and_workers_change_no_digest(config: GenerationConfig) -> None:
    moved = replace(config, run=RunConfig(name="other", folder="/elsewhere"), filter=replace(config.filter, num_workers=7, batch_size=3))
    assert stage_digests(moved) == stage_digests(config)


def test_a_smaller_batch_or_another_device_goes_on_with_what_is_done(config: GenerationConfig) -> None:
    smaller = {"batch_size": 1, "device": "cuda:1"}
    moved = replace(config, generate=replace(config.generate, **smaller), caption=replace(config.caption, **smaller))
    assert stage_digests(moved) == stage_digests(config)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("generate", {"scheduler": "DDIMSheduler"}, "did you mean DDIMScheduler"),
        ("filter", {"pose_model": "/none.task"}, "filter.pose_model='/none.task' cannot be read"),
        (
            "filter",
            {"plugins": (PluginConfig(name="a", kind="classifier", model="/none"),)},
            "filter.plugins.a.model='/none': no such folder",
        ),
    ],
)
def test_what_a_stage_would_miss_hours_later_is_refused_before(
    config: GenerationConfig, section: str, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        stage_digests(replace(config, **{section: replace(getattr(config, section), **values)}))


def test_digest_follows_the_prompt_files_content(config: GenerationConfig, tmp_path: Path) -> None:
    file = tmp_path / "p.txt"
    file.write_text("a man\n")
    with_file = replace(config, prompts=PromptsConfig(kind="text", file=str(file)))
    before = stage_digests(with_file)
    file.write_text("a woman\n")
    assert stage_digests(with_file)["prompts"] != before["prompts"]
    file.unlink()
    with pytest.raises(ContractError, match="cannot be read"):
        stage_digests(with_file)


def test_describe_counts_units_and_images(config: GenerationConfig) -> None:
    run = describe(replace(config, run=RunConfig(unit_size=100), prompts=PromptsConfig(num_prompts=75, variants=3)))["run"]
    assert (run["num_prompts"], run["num_images"], run["num_units"]) == (75, 225, 3)
    assert run["folder"] == str(Path("runs") / "run")


def test_describe_refuses_a_missing_model_before_anything_runs(config: GenerationConfig) -> None:
    with pytest.raises(ConfigError, match=r"generate\.model='models/sd/15'.*no such folder"):
        describe(replace(config, generate=GenerateConfig(model="models/sd/15")))


def test_a_hub_name_is_no_missing_folder() -> None:
    assert find_model("org/name", "generate.model", "diffusion", "model_index.json") == ("org/name", False)


def test_weights_hash_covers_all_parts(config: GenerationConfig, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.safetensors").write_bytes(b"1")
    assert weights_sha256(str(tmp_path)) == sha256_file(tmp_path / "a" / "x.safetensors")
    (tmp_path / "y.safetensors").write_bytes(b"2")
    weights_sha256.cache_clear()
    assert weights_sha256(str(tmp_path)) != sha256_file(tmp_path / "a" / "x.safetensors")


def test_weights_hash_covers_what_is_loaded_only(config: GenerationConfig, tmp_path: Path) -> None:
    shutil.copytree(config.generate.model, tmp_path / "sd")
    root = tmp_path / "sd"
    before = weights_sha256(str(root))
    for unused in ("v1-5-pruned.safetensors", "unet/diffusion_pytorch_model.non_ema.safetensors"):
        (root / unused).write_bytes(b"1")
    weights_sha256.cache_clear()
    assert weights_sha256(str(root)) == before
    assert weights_sha256(str(root), "non_ema") != before  # the other parts have no such variant: their plain files go in
    (root / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"2")
    weights_sha256.cache_clear()
    assert weights_sha256(str(root)) != before


@pytest.mark.parametrize(
    ("names", "variant"),
    [
        (["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"], None),
        (["unet/diffusion_pytorch_model.fp16.safetensors", "text_encoder/model.fp16.safetensors"], "fp16"),
        (["transformer/diffusion_pytorch_model.bf16-00001-of-00002.safetensors", "vae/diffusion_pytorch_model.safetensors"], "bf16"),
        (["text_encoder/model-00001-of-00002.bf16.safetensors", "sd_xl.fp16.safetensors"], "bf16"),
        (["unet/model-00001-of-00002.safetensors"], None),
        ([], None),
    ],
)
def test_a_variant_is_found_where_a_part_has_no_plain_weights(names: list[str], variant: str | None) -> None:
    assert find_variant(names) == variant


def test_a_choice_between_variants_is_the_users() -> None:
    names = [f"unet/diffusion_pytorch_model.{variant}.safetensors" for variant in ("fp16", "bf16")]
    with pytest.raises(ConfigError, match=r"generate\.variant: .*accepted: bf16, fp16"):
        find_variant(names)


@pytest.mark.parametrize("field", ["variant", "revision"])
def test_other_weights_of_a_model_are_another_result(config: GenerationConfig, field: str) -> None:
    plain, named = (replace(config.generate, model="org/name", **{field: value}) for value in (None, "fp16"))
    assert stage_digests(replace(config, generate=plain)) != stage_digests(replace(config, generate=named))


def test_pickled_weights_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"1")
    with pytest.raises(ConfigError, match="safe_serialization"):
        weights_sha256(str(tmp_path))


def test_device_and_dtype_go_together() -> None:
    import torch

    assert resolve_dtype("auto", torch.device("cpu")) is torch.float32
    assert resolve_dtype("auto", torch.device("cuda")) is torch.float16
    assert resolve_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    assert resolve_dtype("auto", torch.device("cpu"), made_for_bfloat16=True) is torch.float32
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"generate\.device='cuda', but 0 CUDA devices"):
            resolve_device("cuda", "generate.device")


@pytest.mark.parametrize(("capability", "chosen"), [((8, 0), "bfloat16"), ((7, 5), "float16")])
def test_a_model_made_for_bfloat16_gets_it_where_the_gpu_has_it(
    capability: tuple[int, int], chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_dtype("auto", torch.device("cuda"), made_for_bfloat16=True) is getattr(torch, chosen)
    assert resolve_dtype("float16", torch.device("cuda"), made_for_bfloat16=True) is torch.float16


@pytest.mark.parametrize(
    ("device", "dtype", "likes"),
    [("cpu", "float32", True), ("cuda", "bfloat16", True), ("cuda", "float32", False), ("mps", "float16", False)],
)
def test_channels_last_is_chosen_where_it_is_faster_and_right(device: str, dtype: str, likes: bool) -> None:
    import torch

    assert likes_channels_last(torch.device(device), getattr(torch, dtype)) is likes


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("filter.thresholds.min_luma_std=.nan", r"filter\.thresholds\.min_luma_std=nan; accepted: a number, finite"),
        ("filter.thresholds.min_measures={clip: .nan}", r"filter\.thresholds\.min_measures\.clip=nan; accepted: a number, finite"),
        ("generate.lora_scale=.inf", r"generate\.lora_scale=inf; accepted: a number, finite"),
    ],
)
def test_numbers_that_are_none_are_refused(setting: str, named: str) -> None:
    """No picture is below a threshold of .nan: the gate would be open."""
    with pytest.raises(ConfigError, match=named):
        load(GenerationConfig, Path(__file__).parents[3] / "configs" / "generation" / "demo.yaml", [setting])


def test_defaults_are_the_embedded_flow() -> None:
    config = GenerationConfig()
    assert config.generate.model == config.caption.model == "embedded"
    assert config.shard == ShardConfig()
