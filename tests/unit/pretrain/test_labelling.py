"""Attribute spaces of one's own: labels by name, then by keyword; mistakes are named."""

from pathlib import Path

import pytest
import torch
import yaml

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ConfigError
from pipeline.signals import StopRequest
from pretrain.labelling import labelling
from pretrain.metrics_log import read_lines
from pretrain.models.aptm import APTM
from pretrain.shards import ShardReader
from pretrain.train import train
from tests.unit.pretrain.samples import tiny_config

SPACE = """
name: own
attributes:
  - name: gender
    prompts: [a female, a male]
  - {name: shirt, prompts: [no red shirt, a red shirt], keywords: [[shirt], [red shirt]]}
"""


def test_labels_come_from_the_attribute_of_that_name_else_from_the_longest_keyword(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(SPACE)
    labels, reader = labelling(str(tmp_path / "own.yaml"), PERSON_27), ShardReader(shards, "train")
    assert labels.space.prompts == ("a female", "a male", "no red shirt", "a red shirt")
    for number in range(len(reader)):
        meta = reader.read(number).meta
        assert labels.of(meta) == [number % 2, int("red shirt" in meta.caption)]
    assert labelling(None, PERSON_27).of(meta) == meta.labels


@pytest.mark.parametrize(
    ("caption", "label"),
    [
        ("a man without an umbrella", 0),
        ("an Umbrella", 1),
        ("umbrellas", -1),
        ("a red hat box", 0),  # "red hat" and "hat box" overlap; the first named of two equally long ones counts
        ("a hat box and rain, no umbrella", 0),
        ("rain", -1),
    ],
)
def test_the_longest_keyword_counts_wherever_it_stands(tmp_path: Path, caption: str, label: int) -> None:
    words = "[[no umbrella, without an umbrella, hat box], [umbrella, red hat]]"
    (tmp_path / "own.yaml").write_text(f"attributes: [{{name: a, prompts: [b, c], keywords: {words}}}]")
    assert labelling(str(tmp_path / "own.yaml"), PERSON_27).keywords[0].label(caption) == label


def test_a_training_learns_the_space_of_the_file(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(SPACE)
    changes = {"data": {"attributes": str(tmp_path / "own.yaml")}, "objective": {"num_matching_prompts": 4}}
    summary = train(tiny_config(shards, tmp_path / "out", train={"steps": 1, "validate_every": 1}, **changes), StopRequest())
    assert summary["losses"]["iac"]["last"] > 0
    assert summary["losses"]["mam"]["last"] > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "accepted: a list of at least one attribute"),
        ("attributes: [{name: a, prompts: [one]}]", r"attribute 1 \(a\): prompts=\['one'\]; accepted: two different sentences"),
        ("attributes: [{name: a, prompts: [one, One]}]", r"accepted: two different sentences, for label 0 and 1"),
        ("attributes: [{name: a, prompt: [b, c]}]", "accepted: a mapping with name, prompts"),
        ("attributes: [{name: a, prompts: [b, c], keywords: [[x], [X]]}]", "name a word twice"),
        ("attributes: [{name: a, prompts: [b, c], keywords: [[no], [hat]]}]", r"\(a\): keyword False; accepted: words; put quotes"),
        ("attributes: [{name: a, prompts: [b, c], keywords: [[''], [hat]]}]", r"\(a\): keyword ''; accepted: words"),
        ("attributes: [{name: a, prompts: [b, c]}, {name: a, prompts: [b, c]}]", "a stands there twice"),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        labelling(str(tmp_path / "own.yaml"), PERSON_27)


def _space(folder: Path, *names: str) -> dict[str, str]:
    """The config section of a space of these things, stated by the captions that have their word."""
    attributes = [{"name": name, "prompts": [f"without {name}", f"with {name}"], "keywords": [[f"no {name}"], [name]]} for name in names]
    (folder / "space.yaml").write_text(yaml.safe_dump({"name": "own", "attributes": attributes}))
    return {"attributes": str(folder / "space.yaml")}


def test_where_no_sample_states_an_attribute_their_losses_are_left_out(shards: Path, tmp_path: Path) -> None:
    own = _space(tmp_path, "umbrella")
    summary = train(tiny_config(shards, tmp_path / "out", data=own), StopRequest())
    attributes = ("iac", "iam", "mam")
    assert all(summary["losses"][name] == {"first": None, "last": None} for name in attributes)
    assert summary["losses"]["total"]["last"] > summary["losses"]["itc"]["last"] > 0
    (line, *_) = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert not {f"train/{name}" for name in (*attributes, "iam_accuracy")} & line.keys()


def test_steps_that_draw_only_prompts_that_nobody_states_have_no_matching_loss(shards: Path, tmp_path: Path) -> None:
    changes = {"data": _space(tmp_path, "shirt", "umbrella"), "objective": {"num_matching_prompts": 1}, "train": {"steps": 8}}
    summary = train(tiny_config(shards, tmp_path / "out", **changes), StopRequest())
    lines = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert all(line["train/iac"] > 0 < line["train/mam"] for line in lines), "all captions speak of a shirt"
    found = [line["train/iam"] for line in lines if "train/iam" in line]
    assert 0 < len(found) < len(lines)
    assert min(found) > 0
    assert ["train/iam" in line for line in lines] == ["train/iam_accuracy" in line for line in lines]
    assert summary["losses"]["iam"] == {"first": found[0], "last": found[-1]}


def test_parts_of_a_step_without_labels_do_not_lower_its_accuracy(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every pair is said to match, which is right of one prompt of two; half of the captions speak of a woman."""
    logits = APTM.match_logits
    monkeypatch.setattr(APTM, "match_logits", lambda *arguments: logits(*arguments) * 0 + torch.tensor([0.0, 1.0]))
    changes = {"data": _space(tmp_path, "woman"), "objective": {"num_matching_prompts": 2}}
    train(tiny_config(shards, tmp_path / "out", train={"steps": 2, "global_batch": 12, "accumulation": 12}, **changes), StopRequest())
    found = [line["train/iam_accuracy"] for line in read_lines(tmp_path / "out" / "metrics.jsonl")]
    assert found == [0.5] * 2
