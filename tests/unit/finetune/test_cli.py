"""`python -m finetune`: recipes, exit codes, what is printed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from finetune.best import find_checkpoint
from finetune.challenge_cli import to_row
from finetune.cli import finetune
from finetune.datasets.challenge import (
    check_lines,
    gold_path,
    images_folder,
    labels_path,
    list_gallery,
    queries_path,
    read_gold,
    read_queries,
)
from finetune.recipes import RECIPES as METHODS
from finetune.recipes import load_recipe
from finetune.submission import write_submission
from pipeline.config import read_yaml
from pipeline.entry import call
from pretrain.checkpoint import METADATA_FILE

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "configs" / "finetune").glob("*.yaml"))


def run(*arguments: object) -> int:
    return call(finetune, [str(a) for a in arguments], "finetune")


@pytest.fixture
def perfect(miniature, tmp_path) -> Path:
    """A submission that names the right pictures first."""
    gallery = list_gallery(miniature)
    lists = [(text, [*names, *(n for n in gallery if n not in names)][:10]) for text, names in read_gold(gold_path(miniature))]
    write_submission(tmp_path / "s.json", lists)
    return tmp_path / "s.json"


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: p.name)
def test_every_recipe_loads_and_says_how_to_run_it(path):
    assert load_recipe(path).method in METHODS
    assert f"configs/finetune/{path.name}" in path.read_text()


def test_the_embedded_recipe_has_the_architecture_of_the_embedded_pre_training():
    mine, theirs = (read_yaml(ROOT / "configs" / path)["model"] for path in ("finetune/embedded.yaml", "pretrain/demo.yaml"))
    assert mine == theirs


def test_a_cost_that_cannot_be_measured_is_refused_before_anything_is_scored(people, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("finetune.evaluate.evaluation_of", lambda *_: pytest.fail("was scored"))
    tree = {"out": str(tmp_path), "data": {"name": "pa-100k", "folder": str(people)}, "init": {"checkpoint": str(tmp_path)}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(tree | {"eval": {"select": "mean_accuracy"}}))
    (tmp_path / METADATA_FILE).write_text("{}")
    assert run("evaluate", "--config", tmp_path / "c.yaml", "--cost") == 2
    assert "pa-100k has no queries whose cost could be measured" in capsys.readouterr().err


def test_parse_prints_one_row_per_line(miniature, capsys):
    path = labels_path(miniature, "val")
    assert run("challenge", "parse", path, "--json") == 0
    output = capsys.readouterr()
    rows = [json.loads(line) for line in output.out.splitlines()]
    records, _ = check_lines(path.read_text().splitlines())
    assert rows == [to_row(record) for record in records]
    assert output.err == ""
    assert (rows[0]["kind"], rows[-1]["kind"]) == ("vehicle", "pedestrian")
    assert "back" in rows[-1]["mentioned"]
    assert rows[-1]["bits"][6] == 1


def test_a_bad_label_file_is_refused_and_prints_no_row(tmp_path, capsys):
    (tmp_path / "l.txt").write_text("a.jpg$white Audi.$A white Audi.\nb.jpg$1,0,1$A man.\n")
    assert run("challenge", "parse", tmp_path / "l.txt") == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "line 2: bit_count: 3 bits, accepted: 21" in output.err


def test_a_right_submission_is_valid_and_scores_one(miniature, perfect, capsys):
    assert run("challenge", "validate", perfect, "--data", miniature, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"valid": True, "queries": 12, "images": 12, "problems": []}
    assert run("challenge", "score", perfect, "--data", miniature, "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["recall@1"] == scores["map@10"] == 1
    assert scores["official"] == pytest.approx(1, abs=1e-6)


def test_an_invalid_submission_ends_with_2_and_names_what_is_wrong(miniature, perfect, capsys):
    perfect.write_text(perfect.read_text().replace(read_queries(queries_path(miniature))[3], "A walking fish."))
    assert run("challenge", "validate", perfect, "--data", miniature) == 2
    assert "A walking fish." in capsys.readouterr().out
    assert run("challenge", "score", perfect, "--data", miniature) == 2


def test_names_are_checked_against_a_folder_or_a_list(miniature, perfect, tmp_path, capsys):
    queries = ("--queries", queries_path(miniature))
    assert run("challenge", "validate", perfect, *queries, "--images", images_folder(miniature, "test")) == 0
    (tmp_path / "names.txt").write_text("\n".join(list_gallery(miniature)[1:]) + "\n")
    assert run("challenge", "validate", perfect, *queries, "--images", tmp_path / "names.txt") == 2
    assert run("challenge", "validate", perfect, *queries) == 0
    assert "names not checked" in capsys.readouterr().out


def test_what_is_missing_is_asked_for(perfect, capsys):
    assert run("challenge", "score", perfect) == 2
    assert "--gold is missing" in capsys.readouterr().err


def test_train_predict_and_evaluate_from_the_command_line(tiny_tree, miniature, tmp_path, capsys):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    recipe.write_text(yaml.safe_dump(tiny_tree))
    assert run("train", "--config", recipe, "--set", "train.steps=2") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["steps"] == 2
    assert run("evaluate", "--config", out / "config.yaml", "--split", "test", "--json") == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["measured_on"]["protocol"] == "selected on validation"
    assert run("challenge", "predict", out / "checkpoint", "--data", miniature, "--out", tmp_path / "s.json", "--json") == 0
    report, best = json.loads(capsys.readouterr().out), str(find_checkpoint(out))
    assert report["queries"] == 12
    assert sum(kind["queries"] for kind in report["kinds"].values()) == 12
    assert all(kind["checkpoints"] == [best] for kind in report["kinds"].values())
    assert run("challenge", "score", tmp_path / "s.json", "--data", miniature, "--json") == 0
    scored = json.loads(capsys.readouterr().out)
    assert all(scored[name] == pytest.approx(scores["all"][name]) for name in ("official", "map@10", "recall@1", "recall@5", "recall@10"))


def test_an_unknown_key_is_refused_with_the_nearest_name(capsys):
    assert run("train", "--config", ROOT / "configs" / "finetune" / "embedded.yaml", "--set", "objective.secondview=1") == 2
    assert "objective.second_view" in capsys.readouterr().err


def test_an_absent_checkpoint_is_refused(tiny_tree, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tiny_tree))
    assert run("train", "--config", tmp_path / "r.yaml", "--set", f"init.checkpoint={tmp_path / 'nowhere'}") == 2
    assert "is no checkpoint" in capsys.readouterr().err


def test_a_file_of_weights_where_a_folder_is_wanted_is_refused_with_the_way_to_make_one(tiny_tree, tmp_path, capsys):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(tiny_tree))
    (tmp_path / "aptm.pth").write_bytes(b"weights")
    assert run("train", "--config", tmp_path / "r.yaml", "--set", f"init.checkpoint={tmp_path / 'aptm.pth'}") == 2
    assert f"passerby import-checkpoint --aptm {tmp_path / 'aptm.pth'} --config RECIPE" in capsys.readouterr().err


def test_a_checkpoint_of_the_other_kind_is_refused_before_anything_is_ranked(tiny_tree, miniature, tmp_path, capsys):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "out"
    data = tiny_tree["data"] | {"kinds": ["vehicle"]}
    recipe.write_text(yaml.safe_dump(tiny_tree | {"data": data, "train": {"steps": 1, "global_batch": 4}}))
    assert run("train", "--config", recipe, "--set", "eval.times=1") == 0
    ours = ("--data", miniature, "--out", tmp_path / "s.json")
    assert run("challenge", "predict", "--pedestrians", out, "--vehicles", out, *ours) == 2
    assert f"--pedestrians {out} was trained on vehicle lines alone; give it with --vehicles" in capsys.readouterr().err
    assert run("challenge", "predict", out, "--vehicles", out, *ours) == 0
    assert f"pedestrian: 6 queries, ranked by {find_checkpoint(out)}\n" in capsys.readouterr().out


def test_bad_seeds_are_refused(capsys):
    assert run("train", "--config", RECIPES[0], "--seeds", "a,b") == 2
    assert "whole numbers" in capsys.readouterr().err


def test_the_config_is_printed_and_read_back_without_torch(tmp_path):
    code = (
        "import sys; from finetune.cli import finetune; from pipeline.entry import call; "
        f"call(finetune, ['train', '--config', {str(RECIPES[0])!r}, '--print-config'], 'x'); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert load_recipe(tmp_path / "again.yaml") == load_recipe(RECIPES[0])
