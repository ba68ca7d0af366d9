"""An ablation: which trainings it needs, what it says of them, and generated shards as what models start from."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from finetune import ablation
from finetune.ablation import run_ablation
from finetune.ablation_config import AblationConfig
from finetune.ablation_table import table, verdict
from finetune.cli import finetune
from finetune.datasets.catalog import data_set
from finetune.datasets.from_shards import unpack_shards
from finetune.datasets.own import FILES
from finetune.recipes import BlipRecipe, IrraRecipe
from finetune.tasks import test_task as task_on_test
from pipeline.config import build, load
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import read_json, write_json
from pipeline.signals import StopRequest
from pretrain.shards import ShardReader
from tests.unit.finetune.tiny_models import BLIP, CLIP
from tests.unit.pretrain.samples import make_shards

ROOT = Path(__file__).parents[3]
MINIATURE = ROOT / "configs" / "finetune" / "ablation" / "miniature.yaml"


@pytest.fixture
def tree(miniature, tmp_path) -> dict:
    small = {"train": {"steps": 1, "global_batch": 4}, "engine": {"kind": "torch", "device": "cpu"}, "eval": {"times": 1}}
    folder = {"folder": str(miniature)}
    people = {"method": "irra", "data": folder | {"kinds": ["pedestrian"]}, "model": {"clip": CLIP, "cross_layers": 1}, **small}
    vehicles = {"method": "blip", "data": folder | {"kinds": ["vehicle"]}, "model": {"config": BLIP, "queue_size": 8}, **small}
    return {
        "out": str(tmp_path / "ablation"),
        "seeds": [0, 1],
        "recipes": {"pedestrian": people, "vehicle": vehicles},
        "rows": [
            {"name": "base", "vehicle": {"objective.classes": "picture"}},
            {"name": "+ IRM", "pedestrian": {"objective.sdm": 0.0, "objective.irm": 1.0}},
            {"name": "+ tags", "vehicle": {"objective.classes": "tag"}},
        ],
        "starts": {"random weights": {}},
    }


@pytest.fixture
def trained(monkeypatch) -> list:
    """The recipes that would be trained, in order; their scores follow from method, objective and seed."""
    asked = []

    def fake(recipe, stop):
        asked.append(recipe)
        value = 0.1 * recipe.seed + (0.8 if isinstance(recipe, IrraRecipe) and recipe.objective.irm else 0.4)
        return {"test": {kind: {"official": value, "map@10": value, "recall@1": value, "map": value} for kind in recipe.data.kinds}}

    monkeypatch.setattr(ablation, "train", fake)
    return asked


def test_changes_add_up_and_a_row_that_changes_nothing_is_not_trained_again(tree, trained):
    config = build(AblationConfig, tree, "test")
    result = run_ablation(config, StopRequest(), lambda line: None)
    people = [recipe for recipe in trained if isinstance(recipe, IrraRecipe)]
    vehicles = [recipe for recipe in trained if isinstance(recipe, BlipRecipe)]
    assert [(r.seed, r.objective.sdm, r.objective.irm) for r in people] == [(0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1)]
    assert [(r.seed, r.objective.classes) for r in vehicles] == [(0, "picture"), (1, "picture"), (0, "tag"), (1, "tag")]
    assert len({recipe.out for recipe in trained}) == len(trained)
    rows = result["starts"]["random weights"]
    assert rows["+ tags"]["pedestrian"] == rows["+ IRM"]["pedestrian"]
    assert rows["+ IRM"]["pedestrian"]["map@10"]["values"] == pytest.approx([0.8, 0.9])
    assert rows["+ IRM"]["pedestrian"]["map@10"]["std"] == pytest.approx(np.std([0.8, 0.9], ddof=1))
    queries = result["queries"]
    assert 0 < result["guessing"]["vehicle"]["map"]["mean"] < 1
    expected = (queries["pedestrian"] * 0.8 + queries["vehicle"] * 0.4) / sum(queries.values())
    assert rows["+ IRM"]["all"]["official"]["values"][0] == pytest.approx(expected)
    assert json.loads((Path(config.out) / "ablation.json").read_text()) == result
    assert "| + IRM | " in (Path(config.out) / "ablation.md").read_text()


def test_what_comes_before_the_rows_is_trained_once_each_from_the_one_before(tree, trained, tmp_path):
    given = str(tmp_path / "given")
    tree["starts"] = {"own": {"pedestrian": [{"train.steps": 7}, {"train.steps": 8}], "vehicle": [{"checkpoint": given}]}}
    run_ablation(build(AblationConfig, tree, "test"), StopRequest(), lambda line: None)
    first, second, *rest = trained
    assert (first.train.steps, first.init.checkpoint) == (7, None)
    assert (second.train.steps, second.init.checkpoint) == (8, first.out)
    for recipe in rest:
        assert recipe.init.checkpoint == (second.out if isinstance(recipe, IrraRecipe) else given)


def test_a_given_checkpoint_can_be_trained_on_before_the_rows(tree, trained, tmp_path):
    tree["starts"] = {"own": {"pedestrian": [{"checkpoint": str(tmp_path / "given")}, {"train.steps": 7}]}}
    run_ablation(build(AblationConfig, tree, "test"), StopRequest(), lambda line: None)
    assert (trained[0].train.steps, trained[0].init.checkpoint) == (7, str(tmp_path / "given"))
    assert {recipe.init.checkpoint for recipe in trained[1:] if isinstance(recipe, IrraRecipe)} == {trained[0].out}


def test_an_ablation_trains_for_real_and_a_second_call_trains_nothing(tree, tmp_path, monkeypatch):
    one = copy.deepcopy(tree)
    one["recipes"].pop("vehicle")
    one["rows"] = one["rows"][:2]
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(one))
    done = CliRunner().invoke(finetune, ["ablation", str(path), "--json"], catch_exceptions=False)
    result = json.loads(done.stdout)
    assert 0 <= result["starts"]["random weights"]["+ IRM"]["all"]["map"]["mean"] <= 1
    monkeypatch.setattr("finetune.train.build_engine", None)
    again = CliRunner().invoke(finetune, ["ablation", str(path), "--json"], catch_exceptions=False)
    assert json.loads(again.stdout) == result


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ([0.1, 0.2, 0.3], [0.2, 0.3, 0.41], "helped (+10.3, sd 0.6)"),
        ([0.2, 0.3, 0.41], [0.1, 0.2, 0.3], "hurt (-10.3, sd 0.6)"),
        ([0.1, 0.2, 0.3], [0.3, 0.2, 0.5], "nothing shown (+13.3, sd 11.5)"),  # one seed does not agree
        ([0.1, 0.1, 0.1], [0.11, 0.12, 0.5], "nothing shown (+14.3, sd 22.2)"),  # the mean lies within the spread
        ([0.1, 0.2], [0.1, 0.2], "same model"),
    ],
)
def test_a_difference_is_called_one_only_if_all_seeds_show_it(before, after, said):
    assert verdict(before, after) == said


def test_nothing_is_said_of_models_that_score_like_guessing():
    before, after = [0.010, 0.012, 0.011], [0.015, 0.017, 0.016]
    assert verdict(before, after, guess=0.004).startswith("helped")
    assert verdict(before, after, guess=0.012).startswith("both near guessing (+0.5")


def test_the_table_has_a_line_per_row_and_a_verdict_per_step(tree, trained):
    tree["starts"] = {"random weights": {}, "again": {}}
    result = run_ablation(build(AblationConfig, tree, "test"), StopRequest(), lambda line: None)
    for scores in result["guessing"].values():
        scores["map@10"]["mean"] = 0.1
    text = table(result)
    assert text.count("| base |") == text.count("| guessing |") == 2
    assert "- + IRM: pedestrian helped (+40.0, sd 0.0); vehicle same model" in text
    assert "### again against random weights" in text
    assert "Checkpoints: selected on validation." in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": [3]}, "at least two different ones"),
        ({"rows": [{"name": "base"}]}, "two and more of different names"),
        ({"recipes": {"cats": {}}}, "accepted: pedestrian, vehicle"),
        ({"starts": {}}, "starts is empty"),
        ({"starts": {"x": {"cat": []}}}, "no recipe for cat"),
        ({"starts": {"x": {"vehicle": [{"checkpoint": "y", "train.steps": 3}]}}}, "checkpoint alone, or changes"),
        ({"starts": {"x": {"vehicle": [{"objective.clases": 1}]}}}, "objective.classes"),
        ({"rows": [{"name": "base"}, {"name": "x", "vehicle": {"objective.clases": 1}}]}, "objective.classes"),
    ],
)
def test_an_ablation_that_does_not_fit_is_refused(tree, change, message):
    with pytest.raises(ConfigError, match=message):
        build(AblationConfig, tree | change, "test")


def test_the_ablation_of_the_miniature_adds_what_the_winners_added():
    config = load(AblationConfig, MINIATURE)
    assert "configs/finetune/ablation/miniature.yaml" in MINIATURE.read_text()
    assert len(config.seeds) == 3
    assert list(config.starts) == ["no pre-training", "pre-trained on generated pedestrians"]
    people, vehicles = ([config.recipe(kind, row, "x", {}).objective for row in range(4)] for kind in ("pedestrian", "vehicle"))
    assert [bool(goal.irm) for goal in people] == [False, True, True, True]
    assert [bool(goal.ac) for goal in people] == [False, False, True, True]
    assert [(goal.colour_patch, goal.classes) for goal in vehicles] == [
        (False, "picture"), (False, "picture"), (True, "picture"), (True, "tag"),
    ]  # fmt: skip
    data = [config.start_recipe("pre-trained on generated pedestrians", "pedestrian", number, "x", None).data for number in (0, 1)]
    assert [part.name for part in data] == ["own", config.recipe("pedestrian", 0, "x", {}).data.name]


def test_generated_shards_become_a_data_set_with_captions_and_attributes(tmp_path):
    shards = make_shards(tmp_path / "shards")
    counts = unpack_shards(shards, tmp_path / "own")
    own, reader = data_set("own"), ShardReader(shards, "train")
    split = own.read(tmp_path / "own", "train")
    assert counts == {"train": len(split.records), "val": len(own.read(tmp_path / "own", "val").records)}
    assert split.space == reader.attribute_space
    for number, record in enumerate(split.records):
        sample = reader.read(number)
        assert (record.captions, list(record.labels)) == (tuple(dict.fromkeys(sample.meta.captions)), sample.meta.labels)
        assert (split.images / record.image).read_bytes() == sample.image
    assert unpack_shards(shards, tmp_path / "own") == counts
    from finetune.config import DataConfig

    assert task_on_test(DataConfig(name="own", folder=str(tmp_path / "own"))) is None
    for name in FILES:
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("{}\n")
        with pytest.raises(ConfigError, match="of another origin"):
            unpack_shards(shards, tmp_path / name)
        assert [path.name for path in (tmp_path / name).iterdir()] == [name]


def test_pictures_are_on_the_disk_before_the_file_that_names_them(tmp_path, monkeypatch):
    seen = []
    out = tmp_path / "own"
    monkeypatch.setattr(os, "sync", lambda: seen.append((len(list((out / "images").iterdir())), (out / "captions.jsonl").exists())))
    counts = unpack_shards(make_shards(tmp_path / "shards"), out)
    assert seen == [(sum(counts.values()), False)]


def test_shards_without_a_validation_split_become_a_data_set_too(tmp_path):
    assert unpack_shards(make_shards(tmp_path / "shards", val=0), tmp_path / "own") == {"train": 12}
    assert len(data_set("own").read(tmp_path / "own", "train").records) == 12
    renamed = make_shards(tmp_path / "renamed")
    manifest = read_json(renamed / "manifest.json")
    write_json(renamed / "manifest.json", {**manifest, "split_counts": {"all": 16}})
    with pytest.raises(ContractError, match=r"no sample of split train, val, test; splits and counts: \{'all': 16\}"):
        unpack_shards(renamed, tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("left", ["nothing", "captions.jsonl", "unpacked.json"])
def test_other_shards_are_not_unpacked_into_the_same_folder(tmp_path, left):
    """Also where the first unpacking was killed, or came from an earlier version, which left no note."""
    out = tmp_path / "own"
    unpack_shards(make_shards(tmp_path / "one"), out)
    if left != "nothing":
        (out / left).unlink()
    before = sorted(out.rglob("*"))
    with pytest.raises(ConfigError, match=r"own holds a data set of another origin than these shards; give a new folder, or delete it"):
        unpack_shards(make_shards(tmp_path / "two", val=0), out)
    assert sorted(out.rglob("*")) == before
