"""What an export of a run gives away: its recipe, and no place on the machine it ran on."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from generation.backends.model_files import model_name, without_place
from generation.cli import main
from generation.config import CaptionConfig, FilterConfig, GenerateConfig, GenerationConfig, PluginConfig, PromptsConfig, RunConfig
from generation.digests import stage_digests
from generation.exchange.published import recipe_of, without_places
from pipeline.config import load, to_yaml
from pipeline.fileio import write_bytes
from pipeline.manifests import read_manifest
from tests.unit.generation.exchanged import save_shards

COMMANDS = pytest.mark.parametrize("command", ["export-hf", "export-mals"])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With all files that the config names."""
    for name in ("prompts.txt", "test.txt", "style.safetensors", "pose.task", "models/sd15/model_index.json"):
        write_bytes(tmp_path / "jane" / name, b"{}")
    for name in ("models/blip", "clip"):
        write_bytes(tmp_path / "jane" / name / "config.json", b"{}")
    return tmp_path / "jane"


@pytest.fixture
def config(home: Path) -> GenerationConfig:
    plugin = PluginConfig(name="clip", kind="image_text", model=f"{home}/clip")
    return GenerationConfig(
        run=RunConfig(name="people", folder=f"{home}/runs/people", seed=5),
        prompts=PromptsConfig(kind="text", file=f"{home}/prompts.txt", check_against=(f"{home}/test.txt",)),
        generate=GenerateConfig(model=f"{home}/models/sd15", lora=f"{home}/style.safetensors", prefix="photo of "),
        filter=FilterConfig(pose_model=f"{home}/pose.task", plugins=(plugin,)),
        caption=CaptionConfig(model=f"{home}/models/blip"),
    )


@pytest.fixture
def run(tmp_path: Path, home: Path, config: GenerationConfig) -> Path:
    """As an earlier version left it, with the paths of models in its samples."""
    models = {"generator": {"model": f"{home}/models/sd15", "weights_sha256": "ab" * 32}, "captioner": {"model": f"{home}/models/blip"}}
    save_shards(tmp_path / "run" / "shards", stage_digests(config)["shard"], **models)
    (tmp_path / "run" / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    return tmp_path / "run"


@COMMANDS
def test_an_export_of_a_run_holds_its_recipe_and_says_nothing_of_the_machine(
    run: Path, home: Path, config: GenerationConfig, tmp_path: Path, command: str
) -> None:
    out = tmp_path / "out"
    assert main([command, str(run), str(out)]) == 0
    assert not [path for path in out.rglob("*") if path.is_file() and str(home).encode() in path.read_bytes()]
    recipe = load(GenerationConfig, out / "recipe.yaml")
    assert recipe == without_places(replace(config, run=replace(config.run, folder=None)))
    assert (recipe.run.seed, recipe.generate.prefix) == (5, "photo of ")
    text = (out / "recipe.yaml").read_text(encoding="utf-8")
    assert "passerby run recipe.yaml" in text
    assert "place (the digest is that with it): prompts.file, prompts.check_against, generate.model, generate.lora, filter." in text


def test_the_head_of_a_recipe_says_of_each_file_how_to_give_ones_own(run: Path, home: Path, tmp_path: Path) -> None:
    assert main(["export-hf", str(run), str(tmp_path / "out")]) == 0
    head = [line for line in (tmp_path / "out" / "recipe.yaml").read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    named = re.findall(r"--set (\S+)=PATH", "".join(head))
    places = {
        "prompts.file": "prompts.txt",
        "generate.model": "models/sd15",
        "generate.lora": "style.safetensors",
        "filter.pose_model": "pose.task",
        "caption.model": "models/blip",
    }
    assert named == list(places)
    load(GenerationConfig, tmp_path / "out" / "recipe.yaml", [f"{name}={home}/{places[name]}" for name in named])
    assert head[-1] == "# Edit these lines of this file, which hold lists: prompts.check_against, filter.plugins"


def test_of_several_prompt_files_none_is_lost_by_what_the_head_of_a_recipe_says(run: Path, home: Path, config: GenerationConfig) -> None:
    several = replace(config.prompts, file=(f"{home}/prompts.txt", f"{home}/test.txt"), check_against=())
    config = replace(config, prompts=several, filter=FilterConfig())
    (run / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    manifest = replace(read_manifest(run / "shards"), config_digest=stage_digests(config)["shard"])
    text = recipe_of(run, manifest) or ""
    assert "--set prompts.file" not in text
    assert "# Edit these lines of this file, which hold lists: prompts.file\n" in text


def test_the_card_names_the_recipe_and_model_folders_by_their_last_part(run: Path, tmp_path: Path) -> None:
    assert main(["export-hf", str(run), str(tmp_path / "out")]) == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "`passerby run recipe.yaml` makes the data again" in card
    assert "Pictures by: ./sd15, weights sha256 abababababab… (12)." in card
    assert "bind what they made too**: `./blip`, `./sd15` (sha256 abababababab…). " in card
    (shard,) = (tmp_path / "out" / "data").glob("val-*.tar")
    assert json.loads(json.loads(_first_json(shard))["generator_json"])["model"] == "./sd15"


def _first_json(shard: Path) -> bytes:
    from pipeline.tars import read_tar

    return next(member.data for member in read_tar(shard) if member.name.endswith(".json"))


@COMMANDS
@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("prefix: 'photo of '", "prefix: 'a photo of '", r"config\.yaml, .* changed since .* \(their config digest is \w+, now \w+\)"),
        ("prefix: ", "prefixes: ", "prefixes"),
        ("jane/prompts.txt", "jane/moved.txt", "moved.txt cannot be read"),
    ],
)
def test_a_run_whose_config_is_not_what_made_the_shards_is_exported_without_a_recipe(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, old: str, new: str, reason: str
) -> None:
    text = (run / "config.yaml").read_text(encoding="utf-8")
    (run / "config.yaml").write_text(text.replace(old, new), encoding="utf-8")
    assert old in text
    assert main([command, str(run), str(tmp_path / "out")]) == 0
    answer, said = capsys.readouterr()
    assert json.loads(answer)["samples"] > 0
    assert re.fullmatch(rf"the export has no recipe\.yaml: .*{reason}.*", said.splitlines()[0])
    assert not any(
        "recipe.yaml" in path.name or b"recipe.yaml" in path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()
    )


@COMMANDS
def test_a_bare_folder_of_shards_has_no_recipe(run: Path, tmp_path: Path, command: str) -> None:
    assert main([command, str(run / "shards"), str(tmp_path / "out")]) == 0
    assert not list((tmp_path / "out").rglob("recipe.yaml"))
    assert not any("recipe.yaml" in path.read_text(encoding="utf-8") for path in (tmp_path / "out").glob("README.md"))


def test_a_recipe_keeps_names_and_relative_paths() -> None:
    files = ("data/CUHK-PEDES/reid_raw.json", "./data/b.json", "../c.json")
    config = GenerationConfig(
        prompts=PromptsConfig(kind="json", file=files), generate=GenerateConfig(model="org/sd"), caption=CaptionConfig(model="org/blip")
    )
    public = without_places(config)
    assert public.prompts.file == ("data/CUHK-PEDES/reid_raw.json", "data/b.json", "c.json")
    assert replace(public, prompts=config.prompts) == config
    assert without_places(GenerationConfig()) == GenerationConfig()


def test_a_model_folder_has_one_name_wherever_it_lies_and_is_never_the_embedded_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("models/sd15", "embedded"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    same = (str(tmp_path / "models/sd15"), "models/sd15", "./models/sd15/", "models/../models/sd15")
    assert {model_name(name) for name in same} == {"./sd15"}
    assert [model_name(name) for name in ("embedded", "./embedded", "org/sd15")] == ["embedded", "./embedded", "org/sd15"]


def test_a_path_of_a_model_that_lies_elsewhere_is_cut_unless_it_may_be_a_name_on_the_hub() -> None:
    for path in ("models/jane/sd15", "models\\jane\\sd15", "C:/jane/sd15", "../sd15", "~/sd15", "/home/jane/sd15"):
        assert model_name(path) == without_place(path) == "./sd15"
    assert [without_place(name) for name in ("org/sd15", "embedded", "MALS")] == ["org/sd15", "embedded", "MALS"]
    public = without_places(GenerationConfig(generate=GenerateConfig(model="models/jane/sd15", lora="models/jane/style.safetensors")))
    assert (public.generate.model, public.generate.lora) == ("./sd15", "style.safetensors")


def test_prompts_of_unknown_licence_are_said_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for licence, told in (("unknown", True), ("CC0-1.0", False)):
        shards = save_shards(tmp_path / licence, licence=licence)
        assert main(["export-hf", str(shards), str(tmp_path / f"{licence}-out")]) == 0
        answer, said = capsys.readouterr()
        assert json.loads(answer)["unknown_licence"] == (12 if told else 0)
        assert ("licence of the prompts of 12 of 12 samples is unknown" in said) == told
        assert ("prompts.licence" in said) == told


def test_splits_that_an_export_leaves_out_are_said_with_the_way_to_take_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = save_shards(tmp_path / "shards")
    assert main(["export-mals", str(shards), str(tmp_path / "train")]) == 0
    answer, said = capsys.readouterr()
    assert (json.loads(answer)["samples"], json.loads(answer)["left_out"]) == (10, {"val": 2})
    assert "2 samples of split val are left out" in said
    assert "--split train --split val" in said
    assert main(["export-mals", str(shards), str(tmp_path / "all"), "--split", "train", "--split", "val"]) == 0
    answer, said = capsys.readouterr()
    assert (json.loads(answer)["left_out"], said) == ({}, "")
