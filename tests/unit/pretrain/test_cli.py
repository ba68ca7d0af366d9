"""The command line: answers on stdout, mistakes on stderr with the exit code of their kind."""

import json
from pathlib import Path

import pytest

from pipeline.config import to_yaml
from pipeline.signals import StopRequest
from pretrain.checkpoint import resolve
from pretrain.cli import main
from pretrain.train import train
from tests.unit.pretrain.samples import make_shards, tiny_config


def _run(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_train_ends_with_one_line_of_json(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(tiny_config(shards, tmp_path / "out")))
    code, out, _ = _run(["train", "--config", str(recipe), "--set", "train.steps=1"], capsys)
    assert code == 0
    assert json.loads(out.splitlines()[-1])["steps"] == 1


def test_evaluate_scores_the_held_out_split(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards = make_shards(tmp_path / "shards", train=8, val=6)
    config = tiny_config(shards, tmp_path / "out", train={"steps": 1})
    train(config, StopRequest())
    code, out, _ = _run(["evaluate", "--config", str(tmp_path / "out" / "config.yaml"), "--json"], capsys)
    scores = json.loads(out)
    assert code == 0
    assert scores["data"] == {"queries": 6, "gallery": 6, "persons": 6}
    assert 0 <= scores["retrieval"]["recall@1"] <= scores["retrieval"]["recall@10"] == 1
    assert {"mean", "gender", "upper_blue"} >= set(scores["attributes"]) >= {"mean", "gender"}


def test_a_training_that_was_moved_goes_on_where_it_lies(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_config(shards, tmp_path / "first", train={"steps": 2}), StopRequest())
    (tmp_path / "first").rename(tmp_path / "moved")
    for name in ("moved", "moved/config.yaml"):
        code, out, _ = _run(["train", str(tmp_path / name)], capsys)
        assert (code, json.loads(out.splitlines()[-1])["steps"]) == (0, 2)
    assert not (tmp_path / "first").exists()
    code, _, _ = _run(["train", str(tmp_path / "moved"), "--set", f"out={tmp_path / 'other'}"], capsys)
    assert code == 0
    assert (tmp_path / "other" / "checkpoint").is_dir()
    assert resolve(tmp_path / "moved") == resolve(tmp_path / "moved" / "checkpoint")


def test_print_config_shows_the_resolved_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("out: here\ndata: {shards: there}\n")
    code, out, _ = _run(["train", "--config", str(recipe), "--set", "optim.lr=1e-3", "--print-config"], capsys)
    assert code == 0
    assert "lr: 0.001" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--config", "absent.yaml"], "absent.yaml does not exist"),
        (["train"], "give one CONFIG"),
        (["train", "a.yaml", "--config", "b.yaml"], "give one CONFIG"),
        (["train", "--set", "seed=1", "absent.yaml"], "absent.yaml does not exist"),
    ],
)
def test_a_mistake_is_refused_with_code_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = _run(arguments, capsys)
    assert code == 2
    assert message in err


def test_a_vocabulary_is_built_from_a_text_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "captions.txt").write_text("a man in a turquoise shirt\n" * 3)
    code, out, _ = _run(["build-vocab", str(tmp_path / "captions.txt"), "--out", str(tmp_path / "vocab.txt")], capsys)
    assert code == 0
    assert "turquoise" in (tmp_path / "vocab.txt").read_text().splitlines()
    assert json.loads(out)["pieces"] == len((tmp_path / "vocab.txt").read_text().splitlines())
    (tmp_path / "empty.txt").write_text("\n")
    assert _run(["build-vocab", str(tmp_path / "empty.txt"), "--out", str(tmp_path / "x")], capsys)[0] == 2
