"""The vision-language path: a real architecture with random weights, and the validation of what it is asked."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.answers import Answers, labels_of_answers, parse_answers, question, sentence_request
from generation.backends.vlm import Reply
from generation.caption import CaptionStage
from generation.config import CaptionConfig, GenerationConfig
from generation.digests import stage_digests
from generation.images import decode_item, encode_jpeg
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.stage import Drop, Item, Keep
from tests.unit.generation.tiny_models import save_llava

FULL = {
    "gender": "Woman",
    "age": "over 18",
    "hair": "long",
    "hat": "no",
    "backpack": "yes",
    "sleeves": "short",
    "lower_garment": "skirt",
    "lower_length": "short",
    "upper_colours": ["grey", "pink"],
    "lower_colours": [],
}


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> CaptionConfig:
    folder = save_llava(tmp_path_factory.mktemp("llava"))
    return CaptionConfig(model=str(folder), device="cpu", max_new_tokens=6, min_words=1, require_clothing=False, max_loop_repeats=99)


def pictures(count: int) -> list[Item]:
    rng = np.random.default_rng(0)
    return [Item(str(i), {}, encode_jpeg(rng.integers(0, 255, (64, 32, 3), np.uint8), 95)) for i in range(count)]


def loaded(config: CaptionConfig) -> CaptionStage:
    stage = CaptionStage(config)
    stage.setup()
    return stage


def test_a_weight_file_that_was_copied_by_half_is_refused(config: CaptionConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(config.model, tmp_path / "half")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="does not load as a BLIP captioner or image-text-to-text model"):
        loaded(replace(config, model=str(folder)))


def test_nonsense_answers_are_dropped_with_the_reason_and_the_text_is_kept(config: CaptionConfig) -> None:
    for outcome in loaded(config).process(pictures(2)):
        assert isinstance(outcome, Drop)
        assert outcome.reason == "invalid_answers"
        assert "JSON" in outcome.row["answers_problem"]
        assert len(outcome.row["captioner"]["weights_sha256"]) == 64
        assert isinstance(outcome.row["caption"], str)


def test_texts_do_not_depend_on_the_batch(config: CaptionConfig) -> None:
    together = loaded(config).process(pictures(3))
    alone = [loaded(replace(config, batch_size=1)).process([item])[0] for item in pictures(3)[2:]]
    assert isinstance(together[2], Drop)
    assert isinstance(alone[0], Drop)
    assert together[2].row["caption"] == alone[0].row["caption"]


def test_questions_come_first_then_the_sentence_with_the_answers(config: CaptionConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = loaded(config)
    asked: list[str] = []

    def scripted(images: list[Any], texts: list[str], options: dict[str, Any]) -> list[list[Reply]]:
        asked.extend(texts)
        answer = "Sure: " + json.dumps(FULL) if "JSON" in texts[0] else '"A woman in a grey shirt with a backpack."\nMore.'
        return [[Reply(answer)]] * len(texts)

    monkeypatch.setattr(stage._model, "_ask", scripted)
    (outcome,) = stage.process(pictures(1))
    assert isinstance(outcome, Keep)
    assert outcome.row["caption"] == "A woman in a grey shirt with a backpack."
    assert outcome.row["answers"]["backpack"] == 0
    assert asked[0] == question()
    assert '"gender": "woman"' in asked[1]


def test_a_model_without_a_chat_template_is_refused(config: CaptionConfig, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "plain"
    shutil.copytree(config.model, folder)
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(ConfigError, match="has no chat template"):
        loaded(replace(config, model=str(folder)))


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (
            ImportError("\nQwen2VLVideoProcessor requires the Torchvision library but it was not found in your environment.\n"),
            "torchvision",
        ),
        (ModuleNotFoundError("No module named 'timm'", name="timm"), "timm"),
    ],
)
def test_a_package_that_the_model_needs_is_named(
    config: CaptionConfig, monkeypatch: pytest.MonkeyPatch, error: ImportError, name: str
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", refuse)
    with pytest.raises(ConfigError, match=f"needs {name}, which is not installed here"):
        loaded(config)


def test_answers_become_the_27_labels() -> None:
    labels = labels_of_answers(parse_answers(json.dumps(FULL)))
    assert tuple(labels) == PERSON_27.names
    stated = {name: value for name, value in labels.items() if value != -1 and not name.startswith("upper_")}
    assert stated == {
        "gender": 0,
        "age": 1,
        "hair_length": 1,
        "hat": 1,
        "backpack": 0,
        "sleeve_length": 1,
        "lower_length": 1,
        "lower_type": 0,
    }
    assert labels["upper_gray"] == 0
    assert sum(labels[f"upper_{c}"] for c in ("black", "white", "red", "purple", "yellow", "blue", "green")) == 7
    assert labels["lower_black"] == -1  # no colour known: the group stays unlabelled


def test_silence_is_unknown() -> None:
    assert set(labels_of_answers(Answers()).values()) == {-1}
    assert set(labels_of_answers(parse_answers("{}")).values()) == {-1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no idea", "no JSON object"),
        ("} {", "no JSON object"),
        ('{"gender": }', "not JSON"),
        ('{"gender": "robot"}', "gender='robot'; accepted: 'man', 'woman', 'unknown'"),
        ('{"upper_colours": "red"}', "upper_colours='red'"),
        ('{"upper_colours": ["mauve"]}', "mauve"),
        ('{"hats": "yes"}', "unknown key hats; did you mean hat"),
        ('{"age": 30}', "age=30"),
        ('{"age": ' * 100_000 + "}", "not JSON"),
    ],
)
def test_answers_outside_the_schema_are_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_answers(text)


@pytest.mark.parametrize("behind", ['\n{"gender": "woman"}', " I hope {this} helps", "\n```"])
def test_the_first_object_is_the_answer(behind: str) -> None:
    assert parse_answers('```json\n{"gender": "man"}' + behind) == Answers(gender="man")


def test_the_question_names_every_field_and_the_request_only_what_is_known() -> None:
    assert all(f'"{name}"' in question() for name in FULL)
    assert "unknown" not in sentence_request(Answers(gender="man"))
    assert "Known" not in sentence_request(None)


def test_a_reply_that_ends_before_its_end_token_is_cut(config: CaptionConfig) -> None:
    captioner: Any = loaded(replace(config, max_new_tokens=5))._model
    model, real = captioner._model, captioner._model.generate
    (image,) = (decode_item(item.image) for item in pictures(1))
    assert [r.is_cut for r in captioner._ask([image], ["a man"], captioner._sentence_options)[0]] == [True]

    def ending(**options: Any) -> Any:
        made = real(**options)
        made.sequences[:, -1] = model.generation_config.eos_token_id
        return made

    model.generate = ending
    assert [r.is_cut for r in captioner._ask([image], ["a man"], captioner._sentence_options)[0]] == [False]


def test_settings_reach_the_sentence_and_not_the_question(config: CaptionConfig) -> None:
    """JSON repeats itself: words must not be discouraged there, and one answer is wanted."""
    stage = loaded(replace(config, num_beams=2, num_candidates=3, min_new_tokens=4, repetition_penalty=1.5, no_repeat_ngram_size=2))
    captioner: Any = stage._model
    real, seen = captioner._model.generate, []
    captioner._model.generate = lambda **options: seen.append(options) or real(**options)
    (outcome,) = stage.process(pictures(1))
    assert isinstance(outcome, Drop)
    scores = [c["score"] for c in outcome.row["caption_candidates"]]
    assert len(scores) > 1
    assert scores == sorted(scores, reverse=True)
    names = ("num_beams", "num_return_sequences", "min_new_tokens", "max_new_tokens", "repetition_penalty", "no_repeat_ngram_size")
    assert [tuple(options.get(name) for name in names) for options in seen] == [(1, None, None, 320, 1.0, None), (3, 3, 4, 6, 1.5, 2)]


def test_sentences_of_vision_language_models_may_be_longer(config: CaptionConfig, tmp_path: Path) -> None:
    """And a default that depends on the model counts in the digest as if it were spelt out: finished BLIP runs stay finished."""

    def digest(**caption: Any) -> str:
        return stage_digests(GenerationConfig(caption=CaptionConfig(**caption)))["caption"]

    assert loaded(replace(config, max_new_tokens=None))._model._sentence_options["max_new_tokens"] == 160  # type: ignore[union-attr]
    assert digest(model=config.model, min_new_tokens=60)
    with pytest.raises(ConfigError, match=r"caption\.min_new_tokens=60; accepted: 0 to 48, .* caption\.model='embedded' unless it is set"):
        digest(min_new_tokens=60)
    assert digest() == digest(max_new_tokens=48) != digest(max_new_tokens=160)
    assert digest(model=config.model) == digest(model=config.model, max_new_tokens=160) != digest(model=config.model, max_new_tokens=48)
