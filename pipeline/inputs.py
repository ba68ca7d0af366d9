"""What a unit is made from: kept rows of an earlier stage and, where wanted, their newest pictures."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.completion import input_digest, read_record
from pipeline.contracts.errors import ContractError
from pipeline.contracts.stage import Item
from pipeline.fileio import sha256_file
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from pipeline.tars import read_tar


@dataclass(frozen=True, slots=True)
class UnitInput:
    """Items of one unit, keys ascending, and the digest of what they come from. Lazy items are only opened if the unit is to be made."""

    items: Iterable[Item]
    digest: str


def chained_input(paths: RunPaths, rows_from: str, images_from: str | None, with_images: bool) -> Callable[[int], UnitInput]:
    """The usual input: unit u of the stages before. The returned function raises ContractError if one of them has not done unit u.

    The digest covers rows_from, then images_from if that is another stage (as graph.sources does), whether pictures are opened or not.
    """
    stages = dict.fromkeys(s for s in (rows_from, images_from) if s is not None)

    def unit_input(unit: int) -> UnitInput:
        items = read_items(paths, rows_from, images_from, unit, with_images)
        return UnitInput(items, input_digest(paths, [(stage, unit) for stage in stages]))

    return unit_input


def read_items(paths: RunPaths, rows_from: str, images_from: str | None, unit: int, with_images: bool) -> Iterator[Item]:
    """Kept rows of unit `unit` of `rows_from` in key order, with pictures from `images_from` if `with_images`.

    Raises ContractError if a file is missing, truncated, corrupt, or not the one that its done record describes.
    """
    rows_path = paths.units(rows_from, unit, "parquet")
    _verify(paths, rows_from, unit, rows_path)
    kept = [row for row in read_rows(rows_path) if row["status"] == "kept"]
    if not with_images:
        yield from (Item(row["key"], row) for row in kept)
        return
    assert images_from is not None, "pictures are wanted, but no stage to take them from"
    tar_path = paths.units(images_from, unit, "tar")
    _verify(paths, images_from, unit, tar_path)
    members = ((Path(m.name).stem, m.data) for m in read_tar(tar_path))
    for row in kept:  # both sides ascend by key, and the tar may hold pictures that a later stage dropped
        image = next((data for key, data in members if key == row["key"]), None)
        if image is None:
            raise ContractError(
                f"{tar_path} holds no picture of {row['key']}, which {rows_path} keeps; {_way_out(paths, images_from, unit)}"
            )
        yield Item(row["key"], row, image)


def _verify(paths: RunPaths, stage: str, unit: int, path: Path) -> None:
    """Hashing costs milliseconds a unit and finds every truncation and flipped bit before a model works on it."""
    record = read_record(paths, stage, unit)
    name = paths.relative(path)
    if record is None or name not in record.files:
        raise ContractError(f"{path} is not in a done record of unit {unit} of {stage!r}; run that stage first")
    if not path.exists():
        raise ContractError(f"{path} does not exist; {_way_out(paths, stage, unit)}")
    if (found := sha256_file(path)) != record.files[name]:
        raise ContractError(
            f"{path} is truncated or corrupt: sha256 {found[:12]}…, its done record says {record.files[name][:12]}…; "
            f"{_way_out(paths, stage, unit)}"
        )


def _way_out(paths: RunPaths, stage: str, unit: int) -> str:
    return f"delete {paths.done(stage, unit)} and run again: the unit will be made anew"
