"""What array tasks tell of themselves, one small file a start: RUN/slurm/NNNN/attempts/JOB/000012-00.json. Slurm forgets, these stay.

Written by the task (pipeline/slurm/task.py), read by status and by the next start of the same task. Its modification time is the last
sign of life, so that a task that was killed without a word still has a duration.
"""

import dataclasses
import os
import re
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json, write_json

HEARTBEAT_S = 30.0
_NAME = re.compile(r"\d+-\d+")


@dataclass(slots=True, kw_only=True)
class Attempt:
    """One start of one task. outcome None: it runs, or it was killed before it could say how it ended."""

    job_id: str
    node: str
    started: float  # seconds since 1970
    left: int  # units to be made when it started
    ended: float | None = None
    outcome: str | None = None  # done, requeued, failed, left (asked to go by somebody who will not have it back)
    cause: str | None = None  # of pipeline/slurm/causes.py
    detail: str = ""


def attempt_file(folder: Path, job: str, element: int, number: int) -> Path:
    return folder / "attempts" / job / f"{element:06d}-{number:02d}.json"


def earlier(folder: Path, job: str, element: int) -> list[Attempt]:
    """Starts of a task so far, oldest first."""
    return [read(path) for path in _in_order((folder / "attempts" / job).glob(f"{element:06d}-*.json"))]


def _in_order(paths: Iterable[Path]) -> list[Path]:
    """Oldest start of a task first; copies and whatever else lies there are left out."""
    return sorted((path for path in paths if _NAME.fullmatch(path.stem)), key=_place)


def _place(path: Path) -> tuple[str, int, int]:
    """(job, task index, number of the start): numbers grow beyond the two digits of the file name."""
    element, number = path.stem.split("-")
    return path.parent.name, int(element), int(number)


def read(path: Path) -> Attempt:
    """Raises ContractError on a file that is not the record of a start."""
    try:
        return Attempt(**read_json(path))
    except TypeError as err:
        raise ContractError(f"{path} is not the record of a task's start ({err}); remove it") from err


def read_all(folder: Path) -> dict[tuple[str, int], list[tuple[Attempt, float]]]:
    """(job, task index) -> its starts, oldest first, each with its last sign of life, in seconds since 1970."""
    found: dict[tuple[str, int], list[tuple[Attempt, float]]] = {}
    for path in _in_order((folder / "attempts").glob("*/*.json")):
        job, element, _ = _place(path)
        with suppress(OSError):
            found.setdefault((job, element), []).append((read(path), path.stat().st_mtime))
    return found


def write(path: Path, attempt: Attempt) -> None:
    """Whole or not at all: `status` reads it meanwhile."""
    write_json(path, dataclasses.asdict(attempt))


def sign_of_life(path: Path) -> None:
    """Of a start that runs: its record's time of change."""
    with suppress(OSError):
        os.utime(path)


def fruitless(attempts: list[Attempt], left: int) -> int:
    """How many of the last starts in a row found as many units to make as there are now."""
    count = 0
    for attempt in reversed(attempts):
        if attempt.left != left:
            break
        count += 1
    return count


def duration(attempt: Attempt, last_sign: float, is_running: bool) -> float:
    """Seconds that a start took, or has taken so far."""
    return max(0.0, (attempt.ended or (time.time() if is_running else last_sign)) - attempt.started)
