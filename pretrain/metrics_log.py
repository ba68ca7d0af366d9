"""metrics.jsonl and summary.json of a training: one JSON object per logged step, and what a reader wants to know at the end."""

import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from statistics import mean
from typing import Any

from pipeline.contracts.errors import ContractError, StageError
from pipeline.fileio import write_bytes, write_json
from pipeline.paths import METRICS_FILE, SUMMARY_FILE
from pretrain.tensorboard_log import FOLDER, TensorBoardLog

ENDS = 0.05  # share of a term's values whose mean counts as first and last
SCORES = "val/"  # what a validation adds to the line of its step


class MetricsLog:
    """Appends lines; a continued training first drops those of steps that will be made again."""

    def __init__(self, path: Path, first_step: int, tensorboard: bool = False) -> None:
        """tensorboard: also write event files, into a folder beside `path`."""
        self._path = path
        self._board = TensorBoardLog(path.parent / FOLDER, first_step) if tensorboard else None
        lines = [line for line in read_lines(path) if line["step"] <= first_step]
        write_bytes(path, b"".join(_encoded(line) for line in lines))
        self._file = open(path, "r+b", buffering=0)  # noqa: SIM115 - open as long as the training
        self._last: Mapping[str, Any] = lines[-1] if lines else {}
        self._last_start = self._file.seek(0, os.SEEK_END) - (len(_encoded(self._last)) if lines else 0)

    def write(self, line: Mapping[str, Any]) -> None:
        """Raises StageError when the disk is full."""
        self._put(line, self._file.seek(0, os.SEEK_END))
        if self._board:
            self._board.write(line)

    def add_scores(self, step: int, scores: Mapping[str, float | None]) -> None:
        """val/NAME to the last line, which is that of this step; without one, as a line of their own. Raises as `write` does."""
        named = {f"{SCORES}{name}": value for name, value in scores.items()}
        is_there = self._last.get("step") == step
        self._put({**(self._last if is_there else {"step": step}), **named}, self._last_start if is_there else self._file.tell())
        if self._board:
            self._board.write({"step": step, **named})

    def has_scores(self, step: int) -> bool:
        """Of the newest step."""
        return self._last.get("step") == step and any(name.startswith(SCORES) for name in self._last)

    def close(self) -> None:
        if self._board:
            self._board.close()
        self._file.close()

    def _put(self, line: Mapping[str, Any], start: int) -> None:
        """In place of what is in the file from `start` on, which stays if there is no room."""
        self._file.seek(start)
        former, data = self._file.read(), memoryview(_encoded(line))
        self._file.seek(start)
        try:
            while data:
                data = data[self._file.write(data) :]  # a part only, where the disk becomes full or a quota is reached
        except OSError as err:
            with suppress(OSError):
                self._file.seek(start)
                self._file.write(former)
                self._file.truncate()
            raise StageError(f"cannot write {self._path}: {err.strerror}; free some space, then run again to continue") from err
        self._last, self._last_start = line, start


def write_summary(folder: Path, terms: tuple[str, ...], facts: Mapping[str, Any]) -> dict[str, Any]:
    """OUT/summary.json: `facts`, and losses.TERM.{first, last}, means over the first and last 5 % of the logged steps that have the term;
    null where none has."""
    lines = read_lines(folder / METRICS_FILE)
    losses = {name: _ends([line[f"train/{name}"] for line in lines if f"train/{name}" in line]) for name in (*terms, "total")}
    summary = {**facts, "losses": losses}
    write_json(folder / SUMMARY_FILE, summary)
    return summary


def _ends(values: list[float]) -> dict[str, float | None]:
    count = max(1, round(ENDS * len(values)))
    return {"first": mean(values[:count]), "last": mean(values[-count:])} if values else {"first": None, "last": None}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a killed training may leave half a line at the end. Raises ContractError for another line that is none."""
    if not path.exists():
        return []
    found = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            line = json.loads(text) if text else None
        except ValueError as err:
            raise ContractError(f"{path}, line {number} is no JSON ({err}); delete that line") from err
        if line is not None:
            found.append(line)
    return found


def _encoded(line: Mapping[str, Any]) -> bytes:
    """A number that is none becomes null: JSON has no NaN."""
    finite = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in line.items()}
    return (json.dumps(finite, allow_nan=False) + "\n").encode()
