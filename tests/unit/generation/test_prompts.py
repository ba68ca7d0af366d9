"""Prompts: the balanced sampler, and files good and bad."""

import json
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from generation.config import GenerationConfig, PromptsConfig, RunConfig
from generation.embedded.render.captions import caption
from generation.embedded.render.person import sample_person
from generation.prompt_texts import count_prompts, make_prompts
from generation.prompts import image_items, prompt_rows, write_prompts
from generation.sampler import sample_look
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import digest, read_json
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from tests.unit.generation.looks import stated_labels


def texts(config: PromptsConfig, seed: int = 0) -> list[str]:
    return [prompt.text for prompt in make_prompts(config, seed)]


def words(text: str) -> list[str]:
    return re.findall(r"[a-z]+(?:-[a-z]+)*", text)


def test_every_value_of_the_27_attributes_is_filled() -> None:
    count = 720
    stated = [stated_labels(sample_look(3, i)) for i in range(count)]
    shares = Counter((name, value) for labels in stated for name, value in labels.items())
    for name in ("gender", "hair_length", "sleeve_length"):
        assert shares[name, 0] == count // 2
    assert shares["hat", 0] == count // 2
    assert {shares[name, 0] for name in ("backpack", "handbag", "bag")} == {count // 4}
    assert shares["age", 0] == count // 4
    for name in PERSON_27.names:
        assert shares[name, 0] >= count * 0.08, name


def test_impossible_combinations_never_appear() -> None:
    for i in range(500):
        look = sample_look(9, i)
        assert look.lower_type != "pants" or look.lower_length == "long"
        assert look.lower_type != "shorts" or look.lower_length == "short"
        assert look.lower_type != "dress" or look.upper_colour == look.lower_colour


def test_a_longer_run_begins_with_the_prompts_of_a_shorter_one() -> None:
    config = PromptsConfig(num_prompts=20)
    assert make_prompts(PromptsConfig(num_prompts=50), 4)[:20] == make_prompts(config, 4)
    assert make_prompts(config, 5) != make_prompts(config, 4)


def test_sentences_stay_as_they_were() -> None:
    assert digest(texts(PromptsConfig(num_prompts=60), 7)) == "bcfc23224ad91482"


def test_the_embedded_model_knows_every_word_of_the_prompts() -> None:
    rng = np.random.default_rng(0)
    known = {w for _ in range(1500) for w in words(caption(sample_person(rng), ("front", "side", "back")[rng.integers(3)], rng))}
    used = {w for text in texts(PromptsConfig(num_prompts=1000), 1) for w in words(text)}
    assert used - known == set()


def test_prompts_fit_the_embedded_text_encoder() -> None:
    assert max(len(text.split()) for text in texts(PromptsConfig(num_prompts=2000), 2)) <= 35


def test_text_file_gives_a_prompt_a_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes("\ufeffa man in rot\r\n\n  a wömän  \n".encode())
    config = PromptsConfig(kind="text", file=str(file), licence="CC-BY-4.0")
    rows = prompt_rows(config, 0)
    assert [row["prompt"] for row in rows] == ["a man in rot", "a wömän"]
    assert {(row["source"], row["licence"], row["view"]) for row in rows} == {("mine.txt", "CC-BY-4.0", None)}
    assert [row["pid"] for row in rows] == [row["prompt_index"] for row in rows] == [0, 1]
    assert count_prompts(config) == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "holds no prompt"),
        (b"\n \n", "holds no prompt"),
        (b"a man\na w\xf6man\n", r"line 2, byte 4: 0xf6 is not UTF-8"),
        ("a man\n".encode("utf-16-le"), r"line 1, byte 2: 0x00 is no text"),
        (b'[{"split": "test", "captions": []}]', r"line 1: .* looks like JSON.*set prompts.kind=json"),
        (b"\n[\n  {\n", r"line 2: '\[' looks like JSON"),
        (b'{"prompt": "a man"}\n', r"prompts.kind=table for .jsonl"),
    ],
)
def test_bad_text_files_are_refused(tmp_path: Path, data: bytes, message: str) -> None:
    file = tmp_path / "prompts.txt"
    file.write_bytes(data)
    with pytest.raises(ContractError, match=message):
        make_prompts(PromptsConfig(kind="text", file=str(file)), 0)


def test_brackets_of_a_sentence_are_no_json(tmp_path: Path) -> None:
    file = tmp_path / "prompts.txt"
    file.write_text("[a red coat], a woman\n{x|y} a man\n")
    assert len(make_prompts(PromptsConfig(kind="text", file=str(file)), 0)) == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="cannot be read"):
        make_prompts(PromptsConfig(kind="json", file=str(tmp_path / "none.json")), 0)


RECORDS = [
    {"id": 1, "file_path": "a.jpg", "split": "train", "captions": ["A man.", "A  man in red."]},
    {"id": 2, "file_path": "b.jpg", "split": "test", "captions": ["A secret."]},
    {"id": 3, "file_path": "c.jpg", "split": "train", "captions": ["A man.", "A woman."], "processed_tokens": []},
]


def test_caption_lists_give_the_train_split_only_each_text_once(tmp_path: Path) -> None:
    file = tmp_path / "reid_raw.json"
    file.write_text(json.dumps(RECORDS))
    assert texts(PromptsConfig(kind="json", file=str(file)), 0) == ["A man.", "A man in red.", "A woman."]
    assert texts(PromptsConfig(kind="json", file=str(file), splits=("test",)), 0) == ["A secret."]
    assert texts(PromptsConfig(kind="json", file=str(file), num_prompts=1), 0) == ["A man."]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{}", "holds a dict"),
        ('{"caption": "a man"}\n', r"set prompts\.kind=table"),
        ('{"caption": "a man"}\n{"caption": "a boy"}\n', r"is not JSON .* set prompts\.kind=table"),
        ("[oops", "is not JSON"),
        ('[{"captions": ["a"]}]', "record 0: `split` is missing"),
        ('[{"split": "train", "captions": "a man"}]', "record 0: `captions`='a man'"),
        ('[{"split": "test", "captions": ["a"]}]', r"no caption of prompts\.splits=\['train'\]"),
    ],
)
def test_bad_caption_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(ContractError, match=message):
        make_prompts(PromptsConfig(kind="json", file=str(file)), 0)


def test_table_and_units(tmp_path: Path) -> None:
    config = GenerationConfig(run=RunConfig(folder=str(tmp_path), unit_size=4), prompts=PromptsConfig(num_prompts=3, variants=2))
    counts, files = write_prompts(config, RunPaths(tmp_path))
    assert counts.seen == counts.kept == 3
    rows = read_rows(files[0])
    assert [item.key for item in image_items(rows, 1, 4, 2)] == ["000000002_00", "000000002_01"]
    assert image_items(rows, 1, 4, 2)[0].row["prompt"] == rows[2]["prompt"]


def test_texts_that_became_no_prompt_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, lines = tmp_path / "reid_raw.json", tmp_path / "lines.txt"
    file.write_text(json.dumps(RECORDS))
    lines.write_text("a man\n\nA man.\na boy\n")
    run = RunConfig(folder=str(tmp_path / "run"))
    paths = RunPaths(run.path)
    caplog.set_level("INFO")
    write_prompts(GenerationConfig(run=run, prompts=PromptsConfig(kind="json", file=str(file), num_prompts=2)), paths)
    sentence = "5 texts: 1 of other splits, 1 repeats and 1 beyond prompts.num_prompts left out; 2 prompts"
    assert f"{file} held {sentence}" in caplog.text
    assert read_json(paths.prompts_read) == {"texts": 5, "of_other_splits": 1, "repeats": 1, "beyond_num_prompts": 1, "prompts": 2}
    write_prompts(GenerationConfig(run=run, prompts=PromptsConfig(kind="text", file=(str(lines), str(lines)))), paths)
    assert "6 texts: 0 of other splits, 4 repeats and 0 beyond" in caplog.text


@pytest.mark.parametrize("values", [{"kind": "poem"}, {"kind": "text"}, {"file": "x"}, {"num_prompts": 0}, {"variants": 101}])
def test_impossible_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"prompts\."):
        PromptsConfig(**values)  # type: ignore[arg-type]
