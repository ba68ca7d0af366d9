"""How tasks ended, kept in RUN/slurm/ended.json: slurmctld forgets a job MinJobAge seconds (often 300) after its end.

Written by whoever looks at the queue (submit, status); a task that was killed without a word leaves no better witness.
"""

import dataclasses
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from pipeline.contracts.errors import ProjectError
from pipeline.fileio import read_json, write_json
from pipeline.paths import RunPaths
from pipeline.slurm.client import QueueEntry
from pipeline.slurm.flight import entries_of
from pipeline.slurm.submission import Submission

_FILE = "ended.json"


def remember(paths: RunPaths, submissions: Iterable[Submission], queue: Iterable[QueueEntry]) -> list[QueueEntry]:
    """The queue's entries of this run, and those that ended badly and that the queue has forgotten since they were last seen."""
    now = {(entry.array_id, entry.element): entry for entry in entries_of(submissions, queue)}
    before = _load(paths)
    ended = {key: entry for key, entry in {**before, **now}.items() if not entry.is_queued and entry.state != "COMPLETED"}
    if ended != before:
        with suppress(ProjectError):  # somebody else's run: read it without taking notes
            write_json(paths.slurm / _FILE, [dataclasses.asdict(entry) for entry in ended.values()])
    return [*now.values(), *(entry for key, entry in before.items() if key not in now)]


def _load(paths: RunPaths) -> dict[tuple[int, int], QueueEntry]:
    try:
        rows: list[Any] = read_json(paths.slurm / _FILE)
        entries = [QueueEntry(**row) for row in rows]
    except (ProjectError, TypeError):
        return {}
    return {(entry.array_id, entry.element): entry for entry in entries}
