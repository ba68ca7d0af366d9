"""Exports and imports hold a shard or a list, not the data set: four times the samples need no more memory."""

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from generation.exchange.hf import export_hf
from generation.exchange.mals import export_mals, import_mals
from generation.exchange.shards import ShardSeries
from pipeline.contracts.manifest import Counts
from pipeline.contracts.sample import Sample
from tests.unit.generation.exchanged import samples
from tests.unit.pipeline.fake_flow import jpeg_with

FEW, MANY = 20, 80  # of 60 kB each, five a shard
PER_SHARD = 5


def peak(work: Callable[[], object]) -> int:
    """The most bytes of Python objects that were alive at one time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Number of samples -> a folder with shards/ and mals/ of them."""
    found = {}
    for count in (FEW, MANY):
        folder = found[count] = tmp_path_factory.mktemp(f"samples{count}")
        series = ShardSeries(folder / "shards", PER_SHARD, "d")
        with series:
            for number, sample in enumerate(samples(count)):
                series.add("train", Sample(replace(sample.meta, pid=number), jpeg_with(number.to_bytes(4, "big") * 15_000)))
        series.write_manifest(Counts(seen=count, kept=count, dropped=0, failed=0))
        export_mals(folder / "shards", folder / "mals", ("train",), tuple(f"p{number}" for number in range(count // PER_SHARD)))
    return found


def to_hf(folder: Path, out: Path) -> None:
    export_hf(folder / "shards", out, "many", None)


def to_mals(folder: Path, out: Path) -> None:
    export_mals(folder / "shards", out, ("train",))


def from_mals(folder: Path, out: Path) -> None:
    import_mals(folder / "mals", out, samples_per_shard=PER_SHARD, val_fraction=0.2, seed=0)


@pytest.mark.parametrize("exchange", [to_hf, to_mals, from_mals])
def test_memory_does_not_grow_with_the_number_of_samples(
    folders: dict[int, Path], tmp_path: Path, exchange: Callable[[Path, Path], None]
) -> None:
    exchange(folders[FEW], tmp_path / "first")  # what a first call loads and keeps
    few, many = (peak(lambda count=count: exchange(folders[count], tmp_path / f"{count}")) for count in (FEW, MANY))  # type: ignore[misc]
    assert many < 1.3 * few + 200_000  # of what is kept of a sample, and 3.6 MB more pictures
