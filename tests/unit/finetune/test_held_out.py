"""Which identities a training holds out for validation, and what is said of checkpoints that were trained on them."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from finetune.best import find_checkpoint
from finetune.cli import finetune
from finetune.datasets import own
from finetune.datasets.records import read_entries
from finetune.evaluate import cost_of, evaluate
from finetune.export import export_checkpoint
from finetune.protocol import check_kind, seen_in_validation
from finetune.recipes import IrraRecipe
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import read_json, write_json
from pipeline.signals import Stopped, StopRequest
from pretrain.checkpoint import METADATA_FILE, MODEL_FILE
from tests.unit.finetune.test_training import StopAfter
from tests.unit.finetune.tiny_models import CLIP

HOLDS_NOTHING_OUT = r"icfg-pedes has no validation split, .* no identity is held out; score --split test"


def recipe(out: Path, data: dict[str, Any], paper_protocol: bool = False, **more: Any) -> IrraRecipe:
    """On `people`, of whose six training persons a val_share of 0.4 holds two out."""
    tree = {
        "method": "irra",
        "out": str(out),
        "data": {"name": "icfg-pedes", "val_share": 0.4, **data},
        "model": {"clip": CLIP, "cross_layers": 1},
        "train": {"steps": 1, "global_batch": 3},
        "engine": {"kind": "torch", "device": "cpu"},
        "eval": {"times": 1, "paper_protocol": paper_protocol},
    }
    return build(IrraRecipe, tree | more, "test")


@pytest.fixture(scope="module")
def paper(people, tmp_path_factory) -> Path:
    """The checkpoint of a training on all identities, selected on test."""
    out = tmp_path_factory.mktemp("paper") / "out"
    train(recipe(out, {"folder": str(people)}, paper_protocol=True), StopRequest())
    return find_checkpoint(out)


@pytest.mark.parametrize("paper_protocol", [False, True])
def test_nothing_is_held_out_where_the_checkpoint_is_chosen_on_test(people, tmp_path, paper_protocol):
    config, out = recipe(tmp_path / "out", {"folder": str(people)}, paper_protocol), tmp_path / "out"
    summary = train(config, StopRequest())
    assert (summary["train_lines"] == 12) is paper_protocol, "six persons of two captions"
    arguments = ["evaluate", "--config", str(out / "config.yaml"), "--split", "test"]
    said = CliRunner().invoke(finetune, arguments, catch_exceptions=False).output
    export_checkpoint(out, tmp_path / "given")
    for text in (said, (tmp_path / "given" / "README.md").read_text()):
        assert ("paper protocol: selected on test" in text) is paper_protocol
    usual = replace(config, eval=replace(config.eval, paper_protocol=False))  # what is told to `evaluate` does not count
    if paper_protocol:
        with pytest.raises(ConfigError, match=HOLDS_NOTHING_OUT):
            evaluate(usual, out, "val")
    else:
        assert evaluate(usual, out, "val") == summary["val"]


def test_what_is_held_out_is_told_by_the_training_not_by_the_recipe_of_the_evaluation(people, tmp_path):
    train(recipe(tmp_path / "out", {"folder": str(people)}), StopRequest())
    for measured in (evaluate, cost_of):
        with pytest.raises(ConfigError, match=r"trained on some identities that data\.val_share=0\.9 holds out; accepted: at most 0\.4"):
            measured(recipe(tmp_path / "out", {"folder": str(people), "val_share": 0.9}), tmp_path / "out", "val")
    assert evaluate(recipe(tmp_path / "out", {"folder": str(people), "val_share": 0.3}), tmp_path / "out", "val")


def test_a_training_on_another_data_set_has_seen_nothing_of_this_one(people, paper, tmp_path):
    """One that does not say on which it was trained, as of older versions, is refused."""
    config, other = recipe(tmp_path, {"folder": str(people)}), tmp_path / "other"
    shutil.copytree(paper, other)
    facts = read_json(other / METADATA_FILE)
    (data,) = facts["trained_on"]
    assert data["name"] == "icfg-pedes"
    write_json(other / METADATA_FILE, facts | {"trained_on": [data | {"name": "cuhk-pedes"}]})
    assert evaluate(config, other, "val")
    del facts["trained_on"]
    write_json(other / METADATA_FILE, facts)
    with pytest.raises(ConfigError, match=r"other was trained, on a data set that it does not name, with eval\.paper_protocol=true"):
        evaluate(config, other, "val")


@pytest.mark.parametrize("form", ["list", "single", "unnamed"])
def test_what_the_weights_were_trained_on_before_counts_too_however_far_back(people, paper, tmp_path, form, caplog):
    """Checkpoints of older versions name their own training alone, with the share that the recipe named, or none."""
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    shutil.copytree(paper, first)
    facts = read_json(first / METADATA_FILE)
    (data,) = facts.pop("trained_on")
    former = {"list": {"trained_on": [data]}, "single": {"trained_on": data | {"val_share": 0.4}}, "unnamed": {}}
    write_json(first / METADATA_FILE, facts | former[form])
    train(recipe(second, {"folder": str(people)}, init={"checkpoint": str(first)}), StopRequest())
    with pytest.raises(ConfigError, match=r"/second/.* began with weights that were trained.* no identity is held out; score --split test"):
        evaluate(recipe(second, {"folder": str(people)}), second, "val")
    caplog.clear()
    train(recipe(third, {"folder": str(people)}, init={"checkpoint": str(second)}), StopRequest())
    assert "for which no identity is held out; scores on validation will be too good" in caplog.text
    trained_on = read_json(find_checkpoint(third) / METADATA_FILE)["trained_on"]
    assert [training["val_share"] for training in trained_on] == [0.0, 0.4], "once each"


@pytest.mark.parametrize("version", ["today", "older"])
def test_a_continuation_goes_on_with_what_its_newest_checkpoint_says_of_its_start(people, paper, tmp_path, version):
    """One that an older version began knows of its own training alone; the start is asked."""
    start = shutil.copytree(paper, tmp_path / "start")
    steps = {"steps": 2, "global_batch": 3, "save_every": 1}
    config = recipe(tmp_path / "out", {"folder": str(people)}, init={"checkpoint": str(start)}, train=steps)
    with pytest.raises(Stopped):
        train(config, StopAfter(0))
    facts = read_json(file := tmp_path / "out" / "checkpoint" / "step-00000001" / METADATA_FILE)
    if version == "older":
        write_json(file, facts | {"trained_on": facts["trained_on"][-1]})
    else:
        write_json(start / METADATA_FILE, {})
    train(config, StopRequest())
    found = read_json(find_checkpoint(tmp_path / "out") / METADATA_FILE)["trained_on"]
    assert [data["val_share"] for data in found] == [0.0, 0.4]


@pytest.mark.parametrize("file", ["", MODEL_FILE])
def test_it_counts_too_where_a_checkpoint_is_given_as_weights(people, paper, tmp_path, file, caplog):
    config = recipe(
        tmp_path, {"folder": str(people)}, init={"weights": str(paper / file)}, model={"height": 32, "width": 16, "cross_layers": 1}
    )
    train(config, StopRequest())
    assert "for which no identity is held out; scores on validation will be too good" in caplog.text
    with pytest.raises(ConfigError, match=r"began with weights that were trained.* no identity is held out; score --split test"):
        evaluate(config, tmp_path, "val")


def test_what_was_before_a_pre_training_counts_but_is_not_its_own(people, paper, tmp_path):
    shutil.copytree(paper, tmp_path / "pretrained")
    facts = read_json(paper / METADATA_FILE)
    del facts["evaluation"]
    write_json(tmp_path / "pretrained" / METADATA_FILE, facts)
    with pytest.raises(ConfigError, match=HOLDS_NOTHING_OUT):
        evaluate(recipe(tmp_path, {"folder": str(people)}), tmp_path / "pretrained", "val")
    check_kind(tmp_path / "pretrained", "vehicle", "--checkpoint")
    with pytest.raises(ConfigError, match="was trained on pedestrian lines alone"):
        check_kind(paper, "vehicle", "--checkpoint")


def test_the_least_share_of_all_trainings_is_what_may_be_held_out(people, tmp_path):
    first, second = ({"folder": str(people), "val_share": share} for share in (0.3, 0.4))
    train(recipe(tmp_path / "first", first), StopRequest())
    out = tmp_path / "second"
    train(recipe(out, second, init={"checkpoint": str(tmp_path / "first")}), StopRequest())
    with pytest.raises(ConfigError, match=r"began with weights that were trained on some identities .*; accepted: at most 0\.3"):
        evaluate(recipe(out, second), out, "val")
    assert evaluate(recipe(out, first), out, "val")


def test_data_sets_of_ones_own_are_told_apart_by_their_files(people, tmp_path):
    rows = [f"{e['file_path']},{e['captions'][0]},{e['id']},{e['split']}" for e in read_entries(people / "ICFG-PEDES.json")]
    for name, lines in (("one", rows), ("other", rows[1:])):
        shutil.copytree(people, tmp_path / name)
        text = "\n".join(["image,caption,identity,split", *(line for line in lines if not line.endswith(",val"))])
        (tmp_path / name / "captions.csv").write_text(text + "\n")
    one, other = ({"name": "own", "folder": str(tmp_path / name)} for name in ("one", "other"))
    train(recipe(tmp_path / "out", one, paper_protocol=True), StopRequest())
    with pytest.raises(ConfigError, match=r"data\.name=own has no validation split"):
        evaluate(recipe(tmp_path / "out", one), tmp_path / "out", "val")
    assert evaluate(recipe(tmp_path / "out", other), tmp_path / "out", "val")


def test_a_cost_on_trained_identities_is_refused_before_a_model_is_opened(people, paper, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune.evaluate.open_searcher", lambda *_: pytest.fail("was opened"))
    with pytest.raises(ConfigError, match=HOLDS_NOTHING_OUT):
        cost_of(recipe(tmp_path, {"folder": str(people)}), paper, "val")


def test_a_start_from_weights_that_have_seen_what_is_held_out_is_told(people, paper, tmp_path, caplog):
    train(recipe(tmp_path, {"folder": str(people)}, init={"checkpoint": str(paper)}), StopRequest())
    assert "for which no identity is held out; scores on validation will be too good" in caplog.text


def test_that_warning_looks_at_nothing_else_of_a_checkpoint_of_another_version(people, paper, tmp_path, caplog):
    shutil.copytree(paper, tmp_path / "newer")
    facts = read_json(paper / METADATA_FILE)
    facts["evaluation"]["eval"]["invented_later"] = 1
    write_json(tmp_path / "newer" / METADATA_FILE, facts)
    assert train(recipe(tmp_path / "out", {"folder": str(people)}, init={"checkpoint": str(tmp_path / "newer")}), StopRequest())
    assert "scores on validation will be too good" in caplog.text


def test_that_warning_reads_ones_own_file_once_and_comes_at_the_beginning_alone(people, paper, tmp_path, monkeypatch, caplog):
    """A start that no fine-tuning wrote has seen nothing, and the file is not asked for."""
    (tmp_path / "own").mkdir()
    rows = [f"{e['file_path']},{e['captions'][0]},{e['id']},{e['split']}" for e in read_entries(people / "ICFG-PEDES.json")]
    kept = [row for row in rows if not row.endswith(",val")]
    (tmp_path / "own" / "captions.csv").write_text("\n".join(["image,caption,identity,split", *kept]) + "\n")
    for picture in people.glob("*.jpg"):
        shutil.copy(picture, tmp_path / "own")
    data = {"name": "own", "folder": str(tmp_path / "own")}
    train(recipe(tmp_path / "start", data, paper_protocol=True), StopRequest())
    parsed, rows_of = [], own._rows
    monkeypatch.setattr(own, "_rows", lambda *arguments: parsed.append(arguments) or rows_of(*arguments))
    config = recipe(tmp_path / "out", data, init={"checkpoint": str(tmp_path / "start")})
    train(config, StopRequest())
    assert (len(parsed), caplog.text.count("too good")) == (1, 1)
    train(config, StopRequest())
    assert (len(parsed), caplog.text.count("too good")) == (2, 1)
    plain = shutil.copytree(paper, tmp_path / "plain")
    write_json(plain / METADATA_FILE, {"step": 1})
    assert seen_in_validation(plain, config.data) is None
    assert len(parsed) == 2, "a training that is finished has read it, to know that it is"


def test_the_json_of_an_evaluation_says_beside_the_scores_what_they_are_of(people, paper, tmp_path):
    arguments = ["evaluate", "--config", str(paper.parents[1] / "config.yaml"), "--checkpoint", str(paper), "--split", "test", "--json"]
    said = json.loads(CliRunner().invoke(finetune, arguments, catch_exceptions=False).stdout)
    facts = {"data_set": "icfg-pedes", "split": "test", "queries": 4, "pictures": 2, "checkpoint": str(paper), "step": 1}
    assert said.pop("measured_on") == {**facts, "protocol": "paper protocol: selected on test"}
    assert list(said) == ["all", "pedestrian"]


def test_a_table_of_scores_begins_with_what_they_are_of_and_so_does_that_of_a_model_card(people, tmp_path):
    out = tmp_path / "out"
    summary = train(recipe(out, {"folder": str(people), "name": "rstpreid"}), StopRequest())
    assert summary["data_set"] == "rstpreid"
    said = CliRunner().invoke(finetune, ["evaluate", "--config", str(out / "config.yaml")], catch_exceptions=False).stdout
    assert said.startswith(f"rstpreid, val: 4 queries, 2 pictures; {out / 'checkpoint' / 'best-00000001'} (step 1)\n")
    export_checkpoint(out, tmp_path / "given")
    card = (tmp_path / "given" / "README.md").read_text()
    assert "(selected on validation), on rstpreid, val, 4 queries, 2 pictures:" in card
    assert "official" not in card, "the challenge's score"
