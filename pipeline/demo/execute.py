"""Run one step of the demo: its commands as child processes, their output in a log, a small record when all of them succeeded."""

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import children
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.demo.layout import DemoPaths
from pipeline.fileio import read_json, write_json
from pipeline.logs import last_lines

LOG_LINES = 20  # of the log that are shown when a command fails
POLL_S = 0.25
GRACE_S = 15.0  # between asking a child to end and killing it


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is: share in [0, 1], and the same in words ("unit 3 of 8")."""

    share: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One `python -m ...`. answer: file that is to hold its last line of output, which is JSON; None where nobody reads it."""

    argv: tuple[str, ...]
    answer: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One row of the demo's table. Done means: a record of this digest, and every output is there."""

    name: str
    title: str  # what a person reads while it runs
    commands: tuple[Command, ...]
    digest: str  # of the commands, their recipes and the steps that this one builds on
    outputs: tuple[Path, ...]
    expected_s: float  # on two slow cores; only the ratios matter, for the estimate of what remains
    progress: Callable[[], Progress]


def is_done(paths: DemoPaths, step: Step) -> bool:
    """Raises ContractError for the record of another digest."""
    path = paths.record(step.name)
    if not path.exists():
        return False
    record = read_json(path)
    if not isinstance(record, dict) or record.get("digest") != step.digest:
        raise ContractError(
            f"{path} was made with other settings, models or code of step {step.name!r}; "
            f"`passerby demo --fresh` starts over, `--out DIR` keeps this one and makes another"
        )
    return all(output.exists() for output in step.outputs)


def run_step(paths: DemoPaths, step: Step, report: Callable[[Progress], None]) -> float:
    """Run all commands; returns seconds. The record is written last.

    Raises ConfigError (a command refused) or StageError with the end of the log if one of them fails.
    """
    log = paths.log(step.name)
    resumed = log.exists()
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    for command in step.commands:
        _run_command(command, log, step, report)
    if missing := [str(output) for output in step.outputs if not output.exists()]:
        raise StageError(f"step {step.name!r} ended well but did not write {', '.join(missing)}; its log is {log}")
    seconds = time.monotonic() - start
    record: dict[str, Any] = {"digest": step.digest, "seconds": round(seconds, 2), "resumed": resumed}
    write_json(paths.record(step.name), record)
    return seconds


def _run_command(command: Command, log: Path, step: Step, report: Callable[[Progress], None]) -> None:
    line = f"python {' '.join(command.argv)}"
    with open(log, "ab") as output:
        output.write(f"$ {line}\n".encode())
        output.flush()
        begin = output.tell()
        child = children.start([sys.executable, *command.argv], output, os.environ)
        try:
            while child.poll() is None:
                report(step.progress())
                time.sleep(POLL_S)
        finally:
            children.stop([child], GRACE_S)
    if child.returncode != 0:
        tail = "\n".join(f"  {text}" for text in last_lines(log, LOG_LINES, begin))
        kind = ConfigError if child.returncode == ConfigError.exit_code else StageError
        raise kind(f"step {step.name!r} failed: {line} ended with {child.returncode}; the end of {log}:\n{tail}")
    if command.answer:
        write_json(command.answer, _answer(log, begin, line))


def _answer(log: Path, begin: int, line: str) -> Any:
    lines = last_lines(log, 1, begin)
    try:
        return json.loads(lines[0])
    except (IndexError, ValueError) as err:
        raise StageError(f"{line} did not end with a line of JSON; its log is {log}") from err
