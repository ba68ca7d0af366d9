"""Everything a user can get wrong, through the command lines: one clear error, the right exit code, nothing half-written."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.cli import main as finetune
from generation.cli import main as generation
from pipeline.cli import main as passerby
from pipeline.config import to_yaml
from pipeline.paths import RunPaths
from pipeline.tars import read_tar, write_tar
from pretrain.cli import main as pretrain
from tests.unit.finetune.conftest import MODEL, TINY
from tests.unit.generation.tiny_diffusion import save_diffusion
from tests.unit.generation.tiny_models import save_blip
from tests.unit.pretrain.samples import make_shards, tiny_config

REFUSED, FAILED = 2, 1


class Shell:
    """Runs a command line in this process and looks at what it leaves."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, main: Any, *arguments: str | Path) -> tuple[int, str]:
        """Exit code and stderr. No traceback may be in it."""
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as err:
            code = err.code
        text = self._capsys.readouterr().err
        assert "Traceback" not in text
        return code or 0, text

    def refuses(self, expected_code: int, message: str, main: Any, *arguments: str | Path) -> None:
        """The command ends with `expected_code`, its last line is one error that contains `message`, and no temporary file stays."""
        code, text = self(main, *arguments)
        errors = [line for line in text.splitlines() if "Error:" in line]
        assert (code, len(errors)) == (expected_code, 1), text
        assert message in errors[0], text
        assert [path for path in self.folder.rglob("*") if ".tmp" in path.name] == []


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, capsys)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    save_diffusion(folder / "sd")
    save_blip(folder / "blip")
    return folder


@pytest.fixture
def recipe(models: Path, tmp_path: Path) -> Path:
    tree = {
        "run": {"folder": str(tmp_path / "run"), "unit_size": 4},
        "prompts": {"num_prompts": 4},
        "generate": {"model": str(models / "sd"), "device": "cpu", "steps": 1},
        "filter": {"num_workers": 0},
        "caption": {"model": str(models / "blip"), "device": "cpu"},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("generate.guidence=3", "did you mean generate.guidance?"),
        ("generate.model=/no/such/model", "no such folder"),
        ("caption.model=/no/such/model", "no such folder"),
        ("generate.device=cdua", "accepted: auto, cpu"),
    ],
)
def test_a_wrong_recipe_is_refused_before_anything_is_written(shell: Shell, recipe: Path, change: str, message: str) -> None:
    shell.refuses(REFUSED, message, passerby, "run", recipe, "--set", change)
    assert not (shell.folder / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "no prompt"), (b"\n  \n", "no prompt"), (b"a man\n\xff\xfe a woman\n", "UTF-8")],
    ids=["empty", "blank lines", "not UTF-8"],
)
def test_a_prompt_file_without_readable_prompts_is_refused(shell: Shell, recipe: Path, content: bytes, message: str) -> None:
    prompts = shell.folder / "prompts.txt"
    prompts.write_bytes(content)
    changes = ("--set", "prompts.kind=text", "--set", f"prompts.file={prompts}", "--set", "prompts.num_prompts=null")
    shell.refuses(REFUSED, message, generation, "prompts", "--config", recipe, *changes)
    shell.refuses(REFUSED, "prompts.txt", passerby, "run", recipe, *changes)


def _first_stages(shell: Shell, recipe: Path, *names: str) -> RunPaths:
    for name in names:
        code, text = shell(generation, name, "--config", recipe)
        assert code == 0, text
    return RunPaths(shell.folder / "run")


def test_a_truncated_tar_fails_the_stage_that_reads_it(shell: Shell, recipe: Path) -> None:
    paths = _first_stages(shell, recipe, "prompts", "generate")
    tar = paths.units("generate", 0, "tar")
    tar.write_bytes(tar.read_bytes()[:1500])
    code, text = shell(generation, "filter", "--config", recipe)
    assert code in (REFUSED, FAILED)
    assert tar.name in text
    assert not paths.done("filter", 0).exists()


def test_a_changed_picture_of_a_finished_unit_is_refused_with_the_way_out(shell: Shell, recipe: Path) -> None:
    paths = _first_stages(shell, recipe, "prompts", "generate")
    _corrupt_first_member(paths.units("generate", 0, "tar"))
    shell.refuses(REFUSED, "the unit will be made anew", generation, "filter", "--config", recipe)


def _corrupt_first_member(tar: Path) -> None:
    members = [(m.name, bytes(m.data)) for m in read_tar(tar)]
    write_tar(tar, [(members[0][0], members[0][1][:40]), *members[1:]])


def test_a_corrupt_image_among_a_users_own_is_a_row(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    assert passerby_code("check-images", str(tmp_path), "--json") == 0
    row = json.loads(capfd.readouterr().out)
    assert (row["file"], row["verdict"]) == ("broken.jpg", "drop")
    assert row["reason"] == "corrupt_image"


def passerby_code(*arguments: str) -> int:
    try:
        return passerby(list(arguments)) or 0
    except SystemExit as err:
        return int(err.code or 0)


def test_a_full_disk_ends_the_stage_and_a_rerun_completes_it(shell: Shell, recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = _first_stages(shell, recipe, "prompts")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        shell.refuses(FAILED, "No space left on device", generation, "generate", "--config", recipe)
    assert not paths.done("generate", 0).exists()
    assert shell(generation, "generate", "--config", recipe)[0] == 0


def test_no_kept_image_is_an_error_that_says_where_they_went(shell: Shell, recipe: Path) -> None:
    _first_stages(shell, recipe, "prompts", "generate", "filter", "recrop", "caption", "annotate")
    shell.refuses(FAILED, "no sample is left for the shards: filter lost 4 of 4", generation, "shard", "--config", recipe)
    assert not list((shell.folder / "run").rglob("shards/*.tar"))


def test_a_done_record_of_another_digest_is_refused_with_the_way_out(shell: Shell, recipe: Path) -> None:
    _first_stages(shell, recipe, "prompts", "generate")
    shell.refuses(REFUSED, "--redo", passerby, "run", recipe, "--set", "generate.steps=2")


def test_training_on_a_truncated_shard_or_a_wrong_device_is_one_error(shell: Shell) -> None:
    shards = make_shards(shell.folder / "shards")
    recipe = shell.folder / "pretrain.yaml"
    recipe.write_text(to_yaml(tiny_config(shards, shell.folder / "out")), encoding="utf-8")
    shell.refuses(REFUSED, "engine.device", pretrain, "train", "--config", recipe, "--set", "engine.device=cdua")
    shell.refuses(REFUSED, "did you mean", pretrain, "train", "--config", recipe, "--set", "optim.lrr=1")
    tar = shards / "train-000000.tar"
    tar.write_bytes(tar.read_bytes()[:2000])
    code, text = shell(pretrain, "train", "--config", recipe)
    assert code in (REFUSED, FAILED)
    assert tar.name in text


@pytest.mark.parametrize(
    ("damage", "message"),
    [(lambda line: line.replace("$", "$1,", 1), "bits"), (lambda line: line + "$one field more", "train_label.txt")],
    ids=["22 bits", "a field too many"],
)
def test_a_damaged_label_line_is_named(shell: Shell, miniature: Path, damage: Any, message: str) -> None:
    data = shell.folder / "data"
    shutil.copytree(miniature, data)
    labels = data / "train" / "train_label.txt"
    lines = labels.read_text(encoding="utf-8").splitlines()
    lines[-1] = damage(lines[-1])
    labels.write_text("\n".join(lines) + "\n", encoding="utf-8")
    recipe = shell.folder / "finetune.yaml"
    tree = {"out": str(shell.folder / "out"), "data": {"folder": str(data)}, "model": MODEL, "train": {"steps": 1, "global_batch": 4}}
    recipe.write_text(yaml.safe_dump({**tree, "engine": {"kind": "torch", "device": "cpu"}}), encoding="utf-8")
    code, text = shell(finetune, "train", "--config", recipe)
    assert code == REFUSED, text
    assert message in text
    assert f"train_label.txt:{len(lines)}" in text or f"line {len(lines)}" in text
    assert not (shell.folder / "out" / "checkpoint").exists()


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from generation.embedded.miniature import make_miniature

    out = tmp_path_factory.mktemp("challenge") / "miniature"
    make_miniature(out, 5, TINY)
    return out
