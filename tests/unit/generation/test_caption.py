"""Captions by a real BLIP class with random weights, and the gate behind it."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.candidates import Candidate, Description, choose
from generation.caption import CaptionStage
from generation.caption_gate import REASONS, caption_reason
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
    assert outcome.row["captioner"] == {"model": f"./{folder.name}", "weights_sha256": sha256_file(folder / "model.safetensors")}


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
        ("a man with his hands on his hips and his hands on his hips wearing a suit", "caption_loop"),
        ("a man wearing a black shirt and black pants" + " and a black shirt and black pants" * 2, "caption_loop"),
        ("a woman in a red dress with a bag on her shoulder and a bag on her shoulder", "caption_loop"),
        ("a man in a blue shirt, in a blue shirt, in a blue shirt", "caption_loop"),
        ("a girl in a T-shirt, a t - shirt and a t shirt", "caption_loop"),
        ("a man in a a a coat", "caption_loop"),
        ("a girl in a t - shirt and a t - shirt and shorts and shorts", None),
        ("a man in a black shirt and black pants and a woman in a black shirt and black pants", None),
        ("a man wearing a white shirt, white pants and white shoes with a white bag", None),
        ("a woman wearing a dress with a hat with a backpack", None),
    ],
)
def test_gate(text: str, reason: str | None) -> None:
    assert caption_reason(text, CaptionConfig()) == reason
    assert reason is None or reason in REASONS


def test_loops_are_of_the_configured_length_and_number() -> None:
    def reason(text: str, **settings: int) -> str | None:
        return caption_reason(f"a man in a coat with {text}", CaptionConfig(**settings))

    stretch = "his hands on his hips"  # five words: longer than 3
    assert reason(f"{stretch} and {stretch}", max_loop_words=5) is None
    assert reason(f"{stretch}, {stretch} and {stretch}", max_loop_words=5) == "caption_loop"
    assert reason(" and ".join([stretch] * 3), max_loop_repeats=4) is None
    assert reason(" and ".join([stretch] * 4), max_loop_repeats=4) == "caption_loop"
    assert reason("a hat and a hat", max_loop_repeats=1) == "caption_loop"


def test_missing_or_wrong_folders_are_refused(config: CaptionConfig, tmp_path: Path) -> None:
    for model, message in (("/nowhere/blip", "no such folder"), (str(tmp_path), r"no config\.json")):
        with pytest.raises(ConfigError, match=message):
            CaptionStage(replace(config, model=model)).setup()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="does not load as a BLIP captioner"):
        CaptionStage(replace(config, model=str(tmp_path))).setup()


def test_a_weight_file_that_was_copied_by_half_is_refused(config: CaptionConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(config.model, tmp_path / "half")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="does not load as a BLIP captioner"):
        CaptionStage(replace(config, model=str(folder))).setup()


def test_candidates_are_the_best_beams_and_the_gate_sees_them_all(config: CaptionConfig) -> None:
    stage = CaptionStage(replace(config, num_candidates=3))
    stage.setup()
    for outcome in stage.process(pictures(3)):
        assert isinstance(outcome, Keep)
        candidates = outcome.row["caption_candidates"]
        scores = [candidate["score"] for candidate in candidates]
        assert len(scores) > 1
        assert scores == sorted(scores, reverse=True)
        assert all(score < 0 for score in scores)
        assert outcome.row["captions"] == [candidate["text"] for candidate in candidates]


def test_a_greedy_caption_has_a_score_too(config: CaptionConfig) -> None:
    stage = CaptionStage(config)
    stage.setup()
    (outcome,) = stage.process(pictures(1))
    assert isinstance(outcome, Keep)
    assert outcome.row["caption_candidates"][0]["score"] < 0


def test_the_captioner_halves_its_batch_when_memory_runs_out(config: CaptionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    stage = CaptionStage(replace(config, batch_size=4))
    stage.setup()
    model: Any = stage._model
    real, sizes = model._batch_of, []

    def small_memory(images: list[Any]) -> Any:
        sizes.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("too much")
        return real(images)

    monkeypatch.setattr(model, "_batch_of", small_memory)
    assert len(stage.process(pictures(4))) == 4
    assert sizes == [4, 2, 2]


GOOD = "a woman in a red shirt and blue jeans"
BETTER = "a woman with long hair in a red shirt and blue jeans with a black backpack"
LOOP = "a man in a hat and a hat and a hat and a hat"


def chosen(candidates: list[Candidate], **fields: Any) -> Keep | Drop:
    outcome = choose(Description(candidates), CaptionConfig(**fields))
    assert isinstance(outcome, Keep | Drop)
    return outcome


def test_the_likeliest_candidate_that_passes_is_taken_and_the_reasons_of_others_are_kept() -> None:
    outcome = chosen([Candidate(LOOP, -0.1), Candidate(BETTER, -0.6), Candidate(GOOD, -0.2)])
    assert isinstance(outcome, Keep)
    assert outcome.row["captions"] == [GOOD, BETTER]
    assert [(c["text"], c["reason"]) for c in outcome.row["caption_candidates"]] == [(LOOP, "caption_loop"), (GOOD, None), (BETTER, None)]


def test_the_one_that_states_most_can_be_taken_instead() -> None:
    assert chosen([Candidate(GOOD, -0.2), Candidate(BETTER, -0.6)], choose="attributes").row["caption"] == BETTER


def test_equal_candidates_count_once_and_none_that_passes_is_a_drop() -> None:
    outcome = chosen([Candidate(LOOP, -0.1), Candidate(LOOP, -0.3), Candidate("a man", -0.2)])
    assert isinstance(outcome, Drop)
    assert (outcome.reason, outcome.row["caption"]) == ("caption_loop", LOOP)
    assert len(outcome.row["caption_candidates"]) == 2
