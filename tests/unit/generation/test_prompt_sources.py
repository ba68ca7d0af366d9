"""Caption lists in every published layout, tables, and repeats."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation.config import GenerateConfig, GenerationConfig, PromptsConfig, RunConfig
from generation.prompt_texts import count_prompts, make_prompts
from generation.prompts import prompt_rows, write_prompts
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.paths import RunPaths
from pipeline.tables import write_rows

RSTP_RAW = [
    {"id": 0, "img_path": "0000_c14_0031.jpg", "captions": ["A girl in white.", "She wears black shoes."], "split": "train"},
    {"id": 1, "img_path": "0001_c1_0001.jpg", "captions": ["A man."], "split": "val"},
]
ICFG_RAW = [{"split": "train", "captions": ["A lady."], "file_path": "train/0001.jpg", "id": 2, "processed_tokens": [["a", "lady"]]}]
TRAIN_PROCESSED = [
    {"image": "c/1.jpg", "caption": "A man in blue.", "image_id": 0},
    {"image": "c/1.jpg", "caption": "A tall man.", "image_id": 0},
]
TEST_PROCESSED = [{"image": "c/9.jpg", "caption": ["A woman.", "She is in red."], "image_id": 7}]


def read(folder: Path, name: str, records: Any, **fields: Any) -> list[str]:
    (folder / name).write_text(json.dumps(records), encoding="utf-8")
    config = PromptsConfig(kind="json", file=str(folder / name), **fields)
    return [prompt.text for prompt in make_prompts(config, 0)]


def test_raw_lists_give_their_train_captions(tmp_path: Path) -> None:
    assert read(tmp_path, "data_captions.json", RSTP_RAW) == ["A girl in white.", "She wears black shoes."]
    assert read(tmp_path, "ICFG-PEDES.json", ICFG_RAW) == ["A lady."]


def test_processed_training_lists_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "rstp_train.json", TRAIN_PROCESSED) == ["A man in blue.", "A tall man."]
    assert read(tmp_path, "captions.json", TRAIN_PROCESSED) == ["A man in blue.", "A tall man."]


@pytest.mark.parametrize(
    ("name", "records"),
    [
        ("cuhk_test.json", TEST_PROCESSED),
        ("captions.json", TEST_PROCESSED),  # no name to go by: several captions a picture is the form of a test list
        ("rstp_train.json", TEST_PROCESSED),  # a name that the form contradicts
        ("icfg_val.json", TRAIN_PROCESSED),
    ],
)
def test_processed_evaluation_lists_are_refused_unless_named(tmp_path: Path, name: str, records: Any) -> None:
    with pytest.raises(ContractError, match=r"must not become prompts"):
        read(tmp_path, name, records)
    assert read(tmp_path, name, records, splits=("train", "val", "test"))


def test_a_name_that_only_contains_the_letters_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, "latest_captions.json", TRAIN_PROCESSED)


def test_bad_processed_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"record 1: `caption`=3"):
        read(tmp_path, "a.json", [{"image": "x", "caption": "a"}, {"image": "y", "caption": 3}])


def test_several_files_are_read_in_order_and_repeats_are_taken_once(tmp_path: Path) -> None:
    for name, lines in (("a.txt", "A man.\na  woman in red"), ("b.txt", "a man\nA woman, in red!\na boy")):
        (tmp_path / name).write_text(lines)
    config = PromptsConfig(kind="text", file=(str(tmp_path / "a.txt"), str(tmp_path / "b.txt")))
    rows = prompt_rows(config, 0)
    assert [(r["prompt"], r["source"]) for r in rows] == [("A man.", "a.txt"), ("a  woman in red", "a.txt"), ("a boy", "b.txt")]
    assert len(make_prompts(PromptsConfig(kind="text", file=config.file, unrepeated=False), 0)) == 5


def test_files_of_several_kinds_make_one_run(tmp_path: Path) -> None:
    (tmp_path / "data_captions.json").write_text(json.dumps(RSTP_RAW))
    (tmp_path / "mine.jsonl").write_text('{"prompt": "A boy.", "source": "me", "licence": "MIT"}\n')
    (tmp_path / "lines.txt").write_text("A lady.\na girl in white\n")
    files = tuple(str(tmp_path / name) for name in ("data_captions.json", "mine.jsonl", "lines.txt"))
    rows = prompt_rows(PromptsConfig(kind="auto", file=files), 0)
    assert [(row["prompt"], row["source"], row["licence"]) for row in rows] == [
        ("A girl in white.", "data_captions.json", "unknown"),
        ("She wears black shoes.", "data_captions.json", "unknown"),
        ("A boy.", "me", "MIT"),
        ("A lady.", "lines.txt", "unknown"),
    ]
    for config in (PromptsConfig(kind="auto", file=files), PromptsConfig(kind="auto", file=files[2])):
        assert count_prompts(config) == len(make_prompts(config, 0))


def test_prompts_that_name_nobody_are_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "p.txt").write_text("a man in red\n# my prompts\nShe wears a coat.\na red coat\nan old jogger\n")
    config = GenerationConfig(run=RunConfig(folder=str(tmp_path / "run")), prompts=PromptsConfig(kind="text", file=str(tmp_path / "p.txt")))
    write_prompts(config, RunPaths(config.run.path))
    assert [record.getMessage().split(";")[0] for record in caplog.records if record.levelname == "WARNING"] == [
        "2 of 5 prompts name no person, first: prompt 1 '# my prompts'"
    ]
    caplog.clear()
    write_prompts(replace(config, generate=GenerateConfig(prefix="a person, ")), RunPaths(config.run.path))
    assert "name no person" not in caplog.text


def test_reading_by_suffix_wants_a_known_one() -> None:
    with pytest.raises(ConfigError, match=r"prompts\.file='my.list'; accepted: \.json, .*prompts\.kind=auto"):
        PromptsConfig(kind="auto", file=("a.txt", "my.list"))


ROWS = [{"caption": "a man", "source": "mine", "licence": "CC-BY-4.0"}, {"caption": "a  boy ", "source": None, "licence": None}]


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_tables_carry_source_and_licence(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        write_rows(path, [{"id": i, **row} for i, row in enumerate(ROWS)])
    else:
        path.write_text("\n".join(json.dumps(row) for row in ROWS) + "\n\n")
    rows = prompt_rows(PromptsConfig(kind="table", file=str(path)), 0)
    assert [(r["prompt"], r["source"], r["licence"]) for r in rows] == [
        ("a man", "mine", "CC-BY-4.0"),
        ("a boy", f"rows.{suffix}", "unknown"),
    ]
    assert prompt_rows(PromptsConfig(kind="table", file=str(path), licence="MIT"), 0)[0]["licence"] == "MIT"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"title": "x"}', "row 1: no text in any of prompt, caption, text; it has title"),
        ("a.jsonl", "[1]", "line 1: a list"),
        ("a.jsonl", "{oops", r"line 1: not JSON .*prompts\.kind=auto"),
        ("a.jsonl", '{"prompt": " "}', "holds no prompt"),
        ("a.parquet", "junk", "not a readable Parquet file"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ContractError, match=message):
        make_prompts(PromptsConfig(kind="table", file=str(tmp_path / name)), 0)


def test_a_table_without_a_text_column_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", [{"title": "x"}])
    with pytest.raises(ContractError, match=r"has columns title; accepted: one of prompt, caption, text"):
        make_prompts(PromptsConfig(kind="table", file=str(tmp_path / "a.parquet")), 0)


@pytest.mark.parametrize(
    ("kind", "text", "where"),
    [
        ("json", '[{"split": "test", "captions": ["A man."]}, {"split": "train", "captions": ["A man \\ud83d"]}]', "record 1"),
        ("json", '[{"image": "a.jpg", "caption": "A man \\ud83d"}]', "record 0"),
        ("table", '{"text": "A man."}\n{"text": "A man \\ud83d"}', "row 2"),
        ("table", '{"text": "A man.", "licence": "\\ude00"}', "row 1"),
    ],
)
def test_half_of_a_surrogate_pair_is_refused_before_a_table_is_written(tmp_path: Path, kind: str, text: str, where: str) -> None:
    file = tmp_path / ("p.json" if kind == "json" else "p.jsonl")
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ContractError, match=rf"{where}: character \d+ of .*half of a surrogate pair"):
        make_prompts(PromptsConfig(kind=kind, file=str(file)), 0)
    file.write_text(text.replace("\\ud83d", "\\ud83d\\ude00").replace('"\\ude00"', '"x"'), encoding="utf-8")
    assert make_prompts(PromptsConfig(kind=kind, file=str(file)), 0)
