"""Exports that were put together in one folder, whose keys, pids and names of images all begin at 0."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from generation.cli import main
from generation.exchange.mals import export_mals, import_mals
from generation.exchange.shards import iter_samples
from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import SampleMeta, make_key
from pipeline.lint import lint
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from tests.unit.generation.exchanged import save_shards, write_list

Line = dict[str, Any]


def read_lines(folder: Path) -> list[Line]:
    return [json.loads(line) for line in (folder / "keys.jsonl").read_text().splitlines()]


def write_lines(folder: Path, lines: list[Line]) -> None:
    (folder / "keys.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def put_together(folder: Path, other: Path) -> None:
    """Copy the lists and pictures of an export beside those of another, the lines of its keys.jsonl after the others."""
    shutil.copytree(other / "gene_attrs", folder / "gene_attrs", dirs_exist_ok=True)
    shutil.copytree(other / "gene_crop", folder / "gene_crop", dirs_exist_ok=True)
    write_lines(folder, read_lines(folder) + read_lines(other))


def imported(folder: Path, out: Path) -> dict[str, SampleMeta]:
    """image_id -> sample."""
    import_mals(folder, out, samples_per_shard=50, val_fraction=0.3, seed=0)
    assert lint(RunPaths(out)) == []
    metas = {sample.meta.key: sample.meta for path in out.glob("*.tar") for sample in iter_samples(path)}
    return {row["image_id"]: metas[row["key"]] for row in read_rows(out / "ledger" / "000000.parquet")}


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """Twelve samples of six prompts, pids and keys from 0, in two lists."""
    export_mals(save_shards(tmp_path / "shards"), tmp_path / "mals", ("train", "val"), parts=("4x", "c_g_a"))
    return tmp_path / "mals"


@pytest.mark.parametrize("other_keys", [0, 100])
def test_persons_of_exports_that_were_put_together_stay_apart(export: Path, tmp_path: Path, other_keys: int) -> None:
    other = tmp_path / "other"
    export_mals(save_shards(tmp_path / "more"), other, ("train", "val"), parts=("i_g_a",))
    changed = [
        line | {"prompt": line["prompt"].replace("prompt", "text"), "key": make_key(number + other_keys, 0)}
        for number, line in enumerate(read_lines(other))
    ]
    write_lines(other, changed)
    put_together(export, other)
    metas = imported(export, tmp_path / "out")
    assert len(metas) == 24
    persons = {(meta.pid, meta.prompt) for meta in metas.values()}
    assert len(persons) == len({pid for pid, _ in persons}) == len({prompt for _, prompt in persons}) == 12
    assert {meta.key for meta in metas.values()} == {make_key(number, 0) for number in range(24)}
    assert {meta.prompt.split()[0] for image_id, meta in metas.items() if image_id.startswith("i_g_a")} == {"text"}


def test_images_without_a_prompt_are_persons_of_their_own_where_exports_were_put_together(export: Path, tmp_path: Path) -> None:
    lines = [line | {"prompt": "", "pid": 0} for line in read_lines(export)]
    write_lines(export, lines)
    assert {meta.pid for meta in imported(export, tmp_path / "whole").values()} == {0}
    lines[3]["key"] = lines[4]["key"]
    write_lines(export, lines)
    assert sorted(meta.pid for meta in imported(export, tmp_path / "together").values()) == list(range(12))


def test_two_lines_of_one_image_that_differ_are_refused(export: Path, tmp_path: Path) -> None:
    lines = read_lines(export)
    write_lines(export, [*lines, lines[2] | {"prompt": "another", "licence": "other"}])
    with pytest.raises(ContractError, match=r"keys\.jsonl, lines 3 and 13 differ, both of image_id '4x_2'; accepted: one line for each"):
        imported(export, tmp_path / "out")


def test_a_repeated_line_changes_nothing(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = imported(export, tmp_path / "before")
    lines = read_lines(export)
    write_lines(export, [*lines, lines[3]])
    assert imported(export, tmp_path / "after") == before
    assert main(["import-mals", str(export), str(tmp_path / "told")]) == 0
    answer, said = capsys.readouterr()
    assert (json.loads(answer)["new_keys"], said) == (None, "")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"key": make_key(1, 0)}, r"lines 2 and 4 of .*keys\.jsonl have the same key"),
        ({"key": ""}, r"line 4 of .*keys\.jsonl has no key"),
        ({"key": "person-7"}, r"line 4 of .*keys\.jsonl has no key of the form 000000123_00"),
        ({"pid": 0}, r"lines 1 and 4 of .*keys\.jsonl have the same pid with two prompts"),
    ],
)
def test_keys_that_are_not_kept_are_told(
    export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Line, reason: str
) -> None:
    lines = read_lines(export)
    lines[3] |= change
    write_lines(export, lines)
    assert main(["import-mals", str(export), str(tmp_path / "out")]) == 0
    answer, said = capsys.readouterr()
    assert "keys and pid are new, not those of the exported runs: line" in said
    for text in (said, json.loads(answer)["new_keys"]):
        assert re.search(reason, text)


def test_new_keys_have_no_gap_between_lists(export: Path, tmp_path: Path) -> None:
    (export / "keys.jsonl").unlink()
    write_list(export, "g_i_g_a_attrs.json", [])
    metas = imported(export, tmp_path / "out")
    assert [(meta.key, meta.pid) for meta in metas.values()] == [(make_key(number, 0), number) for number in range(12)]
