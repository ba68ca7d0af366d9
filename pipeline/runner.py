"""Runs units of one stage in this process: iterate, count, ledger, commit, mark. One function for a test, a laptop and an array task."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from pipeline.completion import State, read_record, refuse_foreign, unit_state
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.contracts.stage import Item, Outcome, Stage
from pipeline.fileio import remove_temporaries
from pipeline.inputs import UnitInput
from pipeline.paths import RunPaths
from pipeline.signals import StopRequest, stop_requests
from pipeline.unit_files import MadeUnit, mark, sweep

log = logging.getLogger(__name__)


def run_units(
    stage: Stage,
    paths: RunPaths,
    units: Sequence[int],
    *,
    config_digest: str,
    inputs: Callable[[int], UnitInput],
) -> list[DoneRecord]:
    """Make those of `units` that are not done; returns the records of what was made now.

    The weights load only if there is something to do. Raises ContractError before any work if a done record has another config digest
    or an input is missing; Stopped on SIGTERM or SIGUSR1; whatever the stage raises, with the unit in hand dropped.
    """
    todo = _todo(stage.name, paths, units, config_digest, inputs)
    if not todo:
        return []
    sweep(paths, stage.name, todo)
    records = []
    stage.setup()
    try:
        with stop_requests() as request:
            for unit, source in todo.items():
                started = time.monotonic()
                made = _make(stage, unit, source.items, request)
                records.append(made.commit(paths, config_digest, source.digest, time.monotonic() - started))
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
    return mark(paths, name, 0, counts, files, config_digest, input_digest, time.monotonic() - started)


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


def _make(stage: Stage, unit: int, items: Iterable[Item], request: StopRequest) -> MadeUnit:
    made = MadeUnit(stage, unit)
    for batch in batches(items, stage.batch_size):
        for item, outcome in zip(batch, process(stage, batch), strict=True):
            made.add(item, outcome)
        request.check_batch(unit)
    return made


def process(stage: Stage, batch: Sequence[Item]) -> Sequence[Outcome]:
    """stage.process, held to one outcome per item."""
    outcomes = stage.process(batch)
    assert len(outcomes) == len(batch), f"{stage.name}: {len(outcomes)} outcomes for {len(batch)} items"
    return outcomes


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one shorter. A unit is always cut alike, whoever runs it: rounding depends on the batch."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
