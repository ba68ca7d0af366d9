"""Captions by a real BLIP class with random weights, and the gate behind it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generation.caption import CaptionStage
from generation.caption_gate import REASONS, caption_reason, longest_loop
from generation.config import CaptionConfig
from generation.images import encode_jpeg
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.stage import Drop, Fail, Item, Keep
from pipeline.fileio import sha256_file
from tests.unit.generation.tiny_models import save_blip

OPEN = {"min_words": 1, "max_loop_repeats": 99, "require_clothing": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_blip(tmp_path_factory.mktemp("blip"))


@pytest.fixture(scope="module")
def config(folder: Path) -> CaptionConfig:
    return CaptionConfig(model=str(folder), device="cpu", max_new_tokens=12, **OPEN)  # type: ignore[arg-type]


def pictures(count: int) -> list[Item]:
    rng = np.random.default_rng(0)
    return [Item(str(i), {}, encode_jpeg(rng.integers(0, 255, (64, 32, 3), np.uint8), 95)) for i in range(count)]


def captions(config: CaptionConfig, items: list[Item]) -> list[str]:
    stage = CaptionStage(config)
    stage.setup()
    outcomes = [o for i in range(0, len(items), config.batch_size) for o in stage.process(items[i : i + config.batch_size])]
    assert all(isinstance(o, Keep) for o in outcomes)
    return [o.row["caption"] for o in outcomes if isinstance(o, Keep)]


def test_row_says_what_was_written_and_by_what(config: CaptionConfig, folder: Path) -> None:
    stage = CaptionStage(config)
    stage.setup()
    (outcome,) = stage.process(pictures(1))
    assert isinstance(outcome, Keep)
    assert outcome.row["captions"] == [outcome.row["caption"]]
    assert "[" not in outcome.row["caption"]
    assert outcome.row["captioner"] == {"model": str(folder), "weights_sha256": sha256_file(folder / "model.safetensors")}


def test_captions_do_not_depend_on_the_batch(config: CaptionConfig) -> None:
    items = pictures(5)
    assert captions(config, items) == captions(replace(config, batch_size=1), items)


def test_repetition_control_reaches_the_model(config: CaptionConfig) -> None:
    plain = captions(replace(config, min_new_tokens=12), pictures(3))
    controlled = captions(replace(config, min_new_tokens=12, no_repeat_ngram_size=1), pictures(3))
    assert plain != controlled
    assert all(len(set(text.split())) == len(text.split()) for text in controlled)


def test_a_corrupt_picture_fails_and_the_others_go_on(config: CaptionConfig) -> None:
    stage = CaptionStage(config)
    stage.setup()
    first, second = pictures(2)
    outcomes = stage.process([first, Item("x", {}, b"no picture"), second])
    assert [type(o) for o in outcomes] == [Keep, Fail, Keep]


def test_dropped_captions_are_stored(config: CaptionConfig) -> None:
    stage = CaptionStage(replace(config, min_words=40))
    stage.setup()
    (outcome,) = stage.process(pictures(1))
    assert isinstance(outcome, Drop)
    assert outcome.reason == "caption_short"
    assert outcome.row["caption"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a man in a red shirt and blue jeans", None),
        ("a man in red", "caption_short"),
        ("a person standing on a street near a car", "caption_no_clothing"),
        ("a woman in a hat and a hat and a hat and a hat", "caption_loop"),
        ("a man in a black jacket and black black black pants", "caption_loop"),
        ("a man with his hands on his hips and his hands on his hips wearing a suit", None),
        ("a woman wearing a dress with a hat with a backpack", None),
    ],
)
def test_gate(text: str, reason: str | None) -> None:
    assert caption_reason(text, CaptionConfig()) == reason
    assert reason is None or reason in REASONS


def test_a_loop_of_the_configured_length_is_found() -> None:
    text = "a man with " + "his hands on his hips and " * 3 + "a shirt"
    assert longest_loop(text.split(), 3) == 1
    assert longest_loop(text.split(), 6) == 3
    assert caption_reason(text, CaptionConfig(max_loop_words=6)) == "caption_loop"


def test_missing_or_wrong_folders_are_refused(config: CaptionConfig, tmp_path: Path) -> None:
    for model, message in (("/nowhere/blip", "no such folder"), (str(tmp_path), r"no config\.json")):
        with pytest.raises(ConfigError, match=message):
            CaptionStage(replace(config, model=model)).setup()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="does not load as a BLIP captioner"):
        CaptionStage(replace(config, model=str(tmp_path))).setup()
