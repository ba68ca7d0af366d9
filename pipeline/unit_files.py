"""What a unit leaves on disk, in this order: pictures (tar), rows (Parquet), ledger, done record.

A process killed between two of them leaves no done record, so the unit is made again, with the same bytes. `runner` makes the units of one
stage, `fused` those of several stages side by side; both leave exactly these files.
"""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome, Row, Stage
from pipeline.fileio import remove_temporaries, sha256_file, write_json
from pipeline.paths import RunPaths
from pipeline.tables import write_rows
from pipeline.tars import image_extension, write_tar
from pipeline.version import code_version

log = logging.getLogger(__name__)


def row_of(item: Item, outcome: Outcome) -> Row:
    """The row that a stage writes about one sample: what was known of it, its status, and the stage's own fields."""
    # status and reason come first, so that every table opens alike; the row of an earlier stage brings its own, which is replaced
    earlier = {k: v for k, v in item.row.items() if k not in ("key", "status", "reason")}
    if isinstance(outcome, Keep):
        return {"key": item.key, "status": "kept", "reason": None, **earlier, **outcome.row}
    if isinstance(outcome, Drop):
        return {"key": item.key, "status": "dropped", "reason": outcome.reason, **earlier, **outcome.row}
    return {"key": item.key, "status": "failed", "reason": outcome.reason, **earlier}


@dataclass(slots=True)
class MadeUnit:
    """A unit in memory. Nothing is on disk before all of it is there, so a dropped unit leaves no trace."""

    stage: Stage
    unit: int
    rows: list[Row] = field(default_factory=list)
    images: list[tuple[str, bytes]] = field(default_factory=list)
    _last: str = ""

    def add(self, item: Item, outcome: Outcome) -> None:
        """Raises ContractError if keys do not ascend."""
        name = self.stage.name
        if item.key <= self._last:
            raise ContractError(f"unit {self.unit} of {name!r}: key {item.key} comes after {self._last}; keys must ascend and be unique")
        self._last = item.key
        self.rows.append(row_of(item, outcome))
        if isinstance(outcome, Fail):
            log.warning("%s failed: %s: %s", item.key, outcome.reason, outcome.detail)
        elif isinstance(outcome, Keep) and self.stage.writes_images:
            assert outcome.image is not None, f"{name} writes pictures, but kept {item.key} without one"
            self.images.append((f"{item.key}.{image_extension(outcome.image)}", outcome.image))

    def commit(self, paths: RunPaths, config_digest: str, input_digest: str, seconds: float) -> DoneRecord:
        """Write the unit. seconds: of work on it before this call, whose own are added."""
        name, unit, files, started = self.stage.name, self.unit, [], time.monotonic()
        if self.stage.writes_images:
            files.append(paths.units(name, unit, "tar"))
            write_tar(files[-1], self.images)
        files.append(paths.units(name, unit, "parquet"))
        write_rows(files[-1], self.rows)
        files.append(paths.ledger(name, unit))
        write_rows(files[-1], ledger_rows(self.rows))
        return mark(paths, name, unit, Counts.of(self.rows), files, config_digest, input_digest, seconds + time.monotonic() - started)


def ledger_rows(rows: Iterable[Row]) -> list[Row]:
    """The three columns of the ledger, of any rows that have them."""
    return [{"key": row["key"], "status": row["status"], "reason": row["reason"]} for row in rows]


def sweep(paths: RunPaths, stage: str, units: Iterable[int]) -> None:
    """Remove the records of what is made again, and what a killed process left of these units."""
    units = list(units)
    finals = {f"{unit:06d}.{ext}" for unit in units for ext in ("tar", "parquet", "json")}
    for part in ("units", "ledger", "done"):
        remove_temporaries(paths.stage(stage) / part, finals)
    for unit in units:
        paths.done(stage, unit).unlink(missing_ok=True)


def mark(
    paths: RunPaths, stage: str, unit: int, counts: Counts, files: Sequence[Path], config_digest: str, input_digest: str, seconds: float
) -> DoneRecord:
    """Write the done record, the last file of a unit."""
    record = DoneRecord(
        stage=stage,
        unit=unit,
        config_digest=config_digest,
        input_digest=input_digest,
        counts=counts,
        seconds=round(seconds, 3),
        files={paths.relative(path): sha256_file(path) for path in files},
        code_version=code_version(),
    )
    write_json(paths.done(stage, unit), record.to_json())
    return record
