"""Exports that were put together in one folder, whose keys, pids and names of images all begin at 0."""

from pathlib import Path

import pytest

from generation.exchange.mals import export_mals, import_mals
from generation.exchange.shards import iter_samples
from pipeline.contracts.sample import SampleMeta, make_key
from pipeline.lint import lint
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from tests.unit.generation.exchanged import save_shards, write_list


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


def test_new_keys_have_no_gap_between_lists(export: Path, tmp_path: Path) -> None:
    (export / "keys.jsonl").unlink()
    write_list(export, "g_i_g_a_attrs.json", [])
    metas = imported(export, tmp_path / "out")
    assert [(meta.key, meta.pid) for meta in metas.values()] == [(make_key(number, 0), number) for number in range(12)]
