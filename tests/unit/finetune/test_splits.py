"""What a training, its validation and its test read of a data set: kinds, and identities held out."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.config import DataConfig, FinetuneConfig
from finetune.datasets import own
from finetune.datasets.lines import TrainingLines
from finetune.datasets.retrieval_split import read_testing, read_validation
from finetune.recipes import IrraRecipe
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.signals import StopRequest
from tests.unit.finetune.conftest import MODEL
from tests.unit.finetune.tiny_models import CLIP

SPLITS = ("train", "val", "test")


def write_own(root: Path, rows: list[str], header: str = "image,caption,identity,split,kind") -> DataConfig:
    (root / "images").mkdir(parents=True)
    for row in rows:
        (root / "images" / row.split(",")[0]).write_bytes(b"")
    (root / "captions.csv").write_text("\n".join([header, *rows]) + "\n")
    return DataConfig(name="own", folder=str(root))


def test_kinds_are_what_is_trained_validated_and_tested_on(tmp_path):
    rows = [f"{split}-{kind}.jpg,a {kind},1,{split},{kind}" for split in SPLITS for kind in ("pedestrian", "vehicle")]
    data = replace(write_own(tmp_path / "own", rows), kinds=("vehicle",))
    assert [line.image for line in TrainingLines.read(tmp_path, data).records] == ["train-vehicle.jpg"]
    for name, split in (("val", read_validation(data)), ("test", read_testing(data))):
        assert split is not None
        assert (split.queries, split.gallery) == (("a vehicle",), (f"{name}-vehicle.jpg",))
        assert split.routes == {"pedestrian": ([], []), "vehicle": ([0], [0])}
        assert split.relevant is not None
        assert split.relevant.tolist() == [[True]]


@pytest.mark.parametrize("split", SPLITS)
def test_a_split_without_the_kinds_that_are_asked_for_is_named(tmp_path, split):
    rows = [f"{name}.jpg,a thing,1,{name},{'pedestrian' if name == split else 'vehicle'}" for name in SPLITS]
    data = replace(write_own(tmp_path / "own", rows), kinds=("vehicle",))
    with pytest.raises(ConfigError, match=rf"data\.kinds=\['vehicle'\]: .*captions\.csv has no line of these kinds in its {split} split"):
        TrainingLines.read(tmp_path, data), read_validation(data), read_testing(data)


@pytest.mark.parametrize(
    ("split", "where"), [("train", r"captions\.csv: train\.jpg: "), ("val", r"images: query 1: "), ("test", r"images: query 1: ")]
)
def test_a_caption_of_which_cleaning_leaves_nothing_is_named_before_a_training(tmp_path, split, where):
    rows = [f"{name}.jpg,{'穿红衣的女人' if name == split else 'a woman in red'},1,{name}" for name in SPLITS]
    folder = write_own(tmp_path / "own", rows, "image,caption,identity,split").folder
    tree = {"out": str(tmp_path / "out"), "model": MODEL, "text": {"clean": True}, "engine": {"kind": "torch", "device": "cpu"}}
    tree |= {"data": {"name": "own", "folder": folder}, "train": {"steps": 1, "global_batch": 1}}
    with pytest.raises(ContractError, match=rf"{where}caption is empty: '穿红衣的女人' .*set text\.clean=false"):
        train(build(FinetuneConfig, tree, "test"), StopRequest())


def test_ones_own_file_is_parsed_once_for_all_splits_and_again_when_it_has_changed(tmp_path, monkeypatch):
    (tmp_path / "images" / "deep").mkdir(parents=True)
    for split in SPLITS:
        (tmp_path / "images" / "deep" / f"{split}.jpg").write_bytes(b"")
    lines = [json.dumps({"image": f"deep/{split}.jpg", "caption": "a man", "split": split}) for split in SPLITS]
    path = tmp_path / "captions.jsonl"
    path.write_text("\n".join(lines) + "\n")
    parsed, loads = [], json.loads
    monkeypatch.setattr(own.json, "loads", lambda text: parsed.append(text) or loads(text))
    data = DataConfig(name="own", folder=str(tmp_path))
    assert len(TrainingLines.read(tmp_path, data).records) == 1
    assert read_validation(data).gallery == ("deep/val.jpg",)
    assert read_testing(data) is not None
    assert len(parsed) == 3
    own.forget()
    assert read_validation(data).gallery == ("deep/val.jpg",)
    assert len(parsed) == 6
    path.write_text("\n".join([*lines, lines[0].replace("a man", "a tall man")]) + "\n")
    assert [line.text for line in TrainingLines.read(tmp_path, data).records] == ["a man", "a tall man"]
    (tmp_path / "images" / "deep" / "val.jpg").unlink()
    with pytest.raises(ContractError, match=r"images lacks 1 of the 1 pictures that .*captions\.jsonl names, the first is deep/val\.jpg"):
        read_validation(data)


@pytest.mark.parametrize("method", ["aptm", "irra"])
def test_a_training_keeps_no_file_in_memory_and_names_a_picture_alike_from_every_process(tmp_path, method, monkeypatch):
    forgotten, messages = [], []
    monkeypatch.setattr(own, "forget", lambda: forgotten.append(True))
    folder = write_own(tmp_path / "own", [f"{name}.jpg,a woman,1,{name}" for name in SPLITS], "image,caption,identity,split").folder
    kind, model = {"aptm": (FinetuneConfig, MODEL), "irra": (IrraRecipe, {"clip": CLIP, "cross_layers": 1})}[method]
    tree = {"method": method, "out": str(tmp_path / "out"), "model": model, "engine": {"kind": "torch", "device": "cpu"}}
    tree |= {"train": {"steps": 1, "global_batch": 1}}
    for workers in (0, 1):
        with pytest.raises(ContractError) as caught:
            train(build(kind, tree | {"data": {"name": "own", "folder": folder, "workers": workers}}, "test"), StopRequest())
        messages.append(str(caught.value))
    problem = r"not a readable picture \(no picture of a known format\)"
    sentence = rf"{tmp_path}/own/images/train\.jpg: {problem}; put a whole one there, or leave it out"
    assert all(re.fullmatch(sentence, message) for message in messages), messages
    assert forgotten == [True, True]
