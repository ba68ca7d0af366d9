"""Runs units of one stage in this process: iterate, count, ledger, commit, mark. One function for a test, a laptop and an array task.

What a unit leaves on disk, in this order: pictures (tar), rows (Parquet), ledger, done record. A process killed between two of them
leaves no done record, so the unit is made again, with the same bytes.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from pipeline.completion import State, read_record, refuse_foreign, unit_state
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome, Row, Stage
from pipeline.fileio import remove_temporaries, sha256_file, write_json
from pipeline.inputs import UnitInput, chained_input, read_items
from pipeline.paths import RunPaths
from pipeline.signals import StopRequest, stop_requests
from pipeline.tables import write_rows
from pipeline.tars import image_extension, write_tar
from pipeline.version import code_version

__all__ = ["RunPaths", "UnitInput", "chained_input", "ledger_rows", "read_items", "run_single", "run_units"]

log = logging.getLogger(__name__)


def run_units(
    stage: Stage,
    paths: RunPaths,
    units: Sequence[int],
    *,
    config_digest: str,
    inputs: Callable[[int], UnitInput],
    on_unit: Callable[[DoneRecord], None] | None = None,
) -> list[DoneRecord]:
    """Make those of `units` that are not done; returns the records of what was made now.

    The weights load only if there is something to do. Raises ContractError before any work if a done record has another config digest
    or an input is missing; Stopped on SIGTERM or SIGUSR1; whatever the stage raises, with the unit in hand dropped.
    """
    todo = _todo(stage.name, paths, units, config_digest, inputs)
    if not todo:
        return []
    _sweep(paths, stage.name, todo)
    records = []
    stage.setup()
    try:
        with stop_requests() as request:
            for unit, source in todo.items():
                started = time.monotonic()
                made = _make(stage, unit, source.items, request)
                record = _commit(stage, paths, unit, made, config_digest, source.digest, started)
                records.append(record)
                if on_unit:
                    on_unit(record)
                if len(records) < len(todo):
                    request.check_unit(unit)
    finally:
        stage.teardown()
    return records


def run_single(
    name: str,
    paths: RunPaths,
    *,
    config_digest: str,
    input_digest: str,
    make: Callable[[], tuple[Counts, Sequence[Path]]],
) -> DoneRecord:
    """Run a stage that is one piece of work. `make` writes files, each whole or not at all, and returns counts and those files.

    Does nothing but return the record if the stage is done. Raises ContractError if its record has another config digest.
    """
    record = read_record(paths, name, 0)
    state = unit_state(paths, record, config_digest, input_digest)
    if record and state is State.DONE:
        return record
    if record and state is State.FOREIGN:
        raise refuse_foreign(paths, record, config_digest)
    paths.done(name, 0).unlink(missing_ok=True)
    for folder in (paths.stage(name), *(paths.stage(name) / part for part in ("units", "ledger", "done"))):
        remove_temporaries(folder)
    started = time.monotonic()
    counts, files = make()
    return _mark(paths, name, 0, counts, files, config_digest, input_digest, started)


def ledger_rows(rows: Iterable[Row]) -> list[Row]:
    """The three columns of the ledger, of any rows that have them."""
    return [{"key": row["key"], "status": row["status"], "reason": row["reason"]} for row in rows]


@dataclass(slots=True)
class _Made:
    """A unit in memory. Nothing is on disk before all of it is there, so a dropped unit leaves no trace."""

    rows: list[Row] = field(default_factory=list)
    images: list[tuple[str, bytes]] = field(default_factory=list)

    def add(self, item: Item, outcome: Outcome) -> None:
        # status and reason come first, so that every table opens alike; the row of an earlier stage brings its own, which is replaced
        earlier = {k: v for k, v in item.row.items() if k not in ("key", "status", "reason")}
        if isinstance(outcome, Keep):
            self.rows.append({"key": item.key, "status": "kept", "reason": None, **earlier, **outcome.row})
        elif isinstance(outcome, Drop):
            self.rows.append({"key": item.key, "status": "dropped", "reason": outcome.reason, **earlier, **outcome.row})
        else:
            self.rows.append({"key": item.key, "status": "failed", "reason": outcome.reason, **earlier})

    def counts(self) -> Counts:
        return Counts.of(self.rows)


def _todo(name: str, paths: RunPaths, units: Sequence[int], config_digest: str, inputs: Callable[[int], UnitInput]) -> dict[int, UnitInput]:
    todo = {}
    for unit in units:
        source = inputs(unit)
        record = read_record(paths, name, unit)
        state = unit_state(paths, record, config_digest, source.digest)
        if record and state is State.FOREIGN:
            raise refuse_foreign(paths, record, config_digest)
        if state is State.STALE:
            log.info("unit %d of %s is made again: its inputs were", unit, name)
        if state is not State.DONE:
            todo[unit] = source
    return todo


def _sweep(paths: RunPaths, name: str, units: Iterable[int]) -> None:
    """Remove the records of what is made again, and what a killed process left of these units."""
    finals = {f"{unit:06d}.{ext}" for unit in units for ext in ("tar", "parquet", "json")}
    for part in ("units", "ledger", "done"):
        remove_temporaries(paths.stage(name) / part, finals)
    for unit in units:
        paths.done(name, unit).unlink(missing_ok=True)


def _make(stage: Stage, unit: int, items: Iterable[Item], request: StopRequest) -> _Made:
    made = _Made()
    last = ""
    for batch in _batches(items, stage.batch_size):
        outcomes = stage.process(batch)
        assert len(outcomes) == len(batch), f"{stage.name}: {len(outcomes)} outcomes for {len(batch)} items"
        for item, outcome in zip(batch, outcomes, strict=True):
            if item.key <= last:
                raise ContractError(f"unit {unit} of {stage.name!r}: key {item.key} comes after {last}; keys must ascend and be unique")
            last = item.key
            made.add(item, outcome)
            if isinstance(outcome, Fail):
                log.warning("%s failed: %s: %s", item.key, outcome.reason, outcome.detail)
            elif isinstance(outcome, Keep) and stage.writes_images:
                assert outcome.image is not None, f"{stage.name} writes pictures, but kept {item.key} without one"
                made.images.append((f"{item.key}.{image_extension(outcome.image)}", outcome.image))
        request.check_batch(unit)
    return made


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def _commit(stage: Stage, paths: RunPaths, unit: int, made: _Made, config_digest: str, input_digest: str, started: float) -> DoneRecord:
    counts = made.counts()
    files = []
    if stage.writes_images:
        files.append(paths.units(stage.name, unit, "tar"))
        write_tar(files[-1], made.images)
    files.append(paths.units(stage.name, unit, "parquet"))
    write_rows(files[-1], made.rows)
    files.append(paths.ledger(stage.name, unit))
    write_rows(files[-1], ledger_rows(made.rows))
    return _mark(paths, stage.name, unit, counts, files, config_digest, input_digest, started)


def _mark(
    paths: RunPaths, name: str, unit: int, counts: Counts, files: Sequence[Path], config_digest: str, input_digest: str, started: float
) -> DoneRecord:
    record = DoneRecord(
        stage=name,
        unit=unit,
        config_digest=config_digest,
        input_digest=input_digest,
        counts=counts,
        seconds=round(time.monotonic() - started, 3),
        files={paths.relative(path): sha256_file(path) for path in files},
        code_version=code_version(),
    )
    write_json(paths.done(name, unit), record.to_json())
    return record
