"""What weights were trained on is said by every checkpoint that a pre-training or an import makes of them."""

import shutil
from pathlib import Path

import pytest

from pipeline.fileio import read_json, write_json
from pipeline.signals import Stopped, StopRequest
from pretrain import checkpoint
from pretrain.exchange import import_weights
from pretrain.history import metadata_of, trained_on
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import build_model, train
from tests.unit.pretrain.samples import tiny_config
from tests.unit.pretrain.test_train import StopAfter

DATA = [{"name": "icfg-pedes", "val_share": 0.0, "annotation": "0" * 64, "kinds": ["pedestrian"]}]


def fine_tuned(folder: Path, **facts: object) -> Path:
    """A checkpoint with the metadata of a fine-tuning."""
    tokenizer = CaptionTokenizer(EMBEDDED_VOCAB)
    checkpoint.save_model(folder, build_model(tiny_config(folder, folder), tokenizer), tokenizer, {"step": 1, **facts})
    return folder


def said(folder: Path) -> object:
    return read_json(folder / checkpoint.METADATA_FILE).get("trained_on")


@pytest.mark.parametrize("file", ["", checkpoint.MODEL_FILE])
def test_a_pre_training_hands_on_what_its_start_was_trained_on_though_that_is_gone_when_it_continues(
    file: str, shards: Path, tmp_path: Path
) -> None:
    start = fine_tuned(tmp_path / "start", trained_on=DATA)
    config = tiny_config(shards, tmp_path / "out", init={"checkpoint": str(start / file)}, train={"save_every": 1, "keep": 9})
    with pytest.raises(Stopped):
        train(config, StopAfter(1))
    shutil.rmtree(start)
    train(config, StopRequest())
    assert [said(folder) for folder in checkpoint.whole(tmp_path / "out" / "checkpoint")] == [DATA] * 4


def test_a_pre_training_that_an_earlier_version_began_learns_it_from_its_start_if_that_is_there(shards: Path, tmp_path: Path) -> None:
    start = fine_tuned(tmp_path / "start", trained_on=DATA)
    config = tiny_config(shards, tmp_path / "out", init={"checkpoint": str(start)}, train={"save_every": 1, "keep": 9})
    for steps in (0, 1):
        with pytest.raises(Stopped):
            train(config, StopAfter(steps))
        newest = checkpoint.resolve(tmp_path / "out")
        facts = read_json(newest / checkpoint.METADATA_FILE)
        assert facts.pop("trained_on") == DATA
        write_json(newest / checkpoint.METADATA_FILE, facts)
    shutil.rmtree(start)
    train(config, StopRequest())
    assert said(checkpoint.resolve(tmp_path / "out")) is None


def test_what_older_fine_tunings_say_is_handed_on_in_todays_form(shards: Path, tmp_path: Path) -> None:
    start = fine_tuned(tmp_path / "start", evaluation={"eval": {"paper_protocol": True}})
    train(tiny_config(shards, tmp_path / "out", init={"checkpoint": str(start)}, train={"steps": 1}), StopRequest())
    assert said(checkpoint.resolve(tmp_path / "out")) == [{"val_share": 0.0}]


@pytest.mark.parametrize("file", ["", checkpoint.MODEL_FILE])
def test_an_import_of_a_checkpoint_of_ours_says_what_it_was_trained_on(file: str, tmp_path: Path) -> None:
    start = fine_tuned(tmp_path / "start", trained_on=DATA)
    import_weights(tiny_config(tmp_path, tmp_path), start / file, None, None, tmp_path / "in")
    assert said(tmp_path / "in") == DATA


@pytest.mark.parametrize(
    "facts", [{"evaluation": "none"}, {"evaluation": {"eval": 1}}, {"trained_on": "the web"}, {"trained_on": [1, {"name": "cats"}]}]
)
def test_entries_of_other_programs_say_nothing(facts: dict[str, object]) -> None:
    assert trained_on({"code_version": "1", **facts}) == []


def test_a_file_from_elsewhere_in_a_folder_of_ours_has_another_history(tmp_path: Path) -> None:
    start = fine_tuned(tmp_path / "start", trained_on=DATA)
    published = shutil.copy(start / checkpoint.MODEL_FILE, start / "aptm_published.safetensors")
    import_weights(tiny_config(tmp_path, tmp_path), published, None, None, tmp_path / "in")
    assert said(tmp_path / "in") is None


def test_weights_from_elsewhere_say_nothing_whatever_lies_beside_them(shards: Path, tmp_path: Path) -> None:
    start = fine_tuned(tmp_path / "start")
    for text in (b'{"a": 1}\n{"b": 2}\n', b"[]", b"\xff", b'{"evaluation": "none", "trained_on": "the web"}'):
        (start / checkpoint.METADATA_FILE).write_bytes(text)
        assert metadata_of(start) == metadata_of(start / checkpoint.MODEL_FILE) == metadata_of(tmp_path / "absent") == {}
    config = tiny_config(shards, tmp_path / "out", init={"checkpoint": str(start / checkpoint.MODEL_FILE)}, train={"steps": 1})
    train(config, StopRequest())
    assert said(checkpoint.resolve(tmp_path / "out")) is None
