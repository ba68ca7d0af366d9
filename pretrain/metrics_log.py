"""metrics.jsonl and summary.json of a training: one JSON object per logged step, and what a reader wants to know at the end."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import StageError
from pipeline.fileio import write_bytes, write_json
from pretrain.tensorboard_log import FOLDER, TensorBoardLog

ENDS = 0.05  # share of the logged steps whose mean counts as first and last


class MetricsLog:
    """Appends lines; a continued training first drops those of steps that will be made again."""

    def __init__(self, path: Path, first_step: int, tensorboard: bool = False) -> None:
        """tensorboard: also write event files, into a folder beside `path`."""
        self._path = path
        self._board = TensorBoardLog(path.parent / FOLDER, first_step) if tensorboard else None
        lines = [line for line in read_lines(path) if line["step"] <= first_step]
        write_bytes(path, b"".join(_encoded(line) for line in lines))
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115 - open as long as the training

    def write(self, line: Mapping[str, Any]) -> None:
        """Raises StageError when the disk is full."""
        try:
            self._file.write(_encoded(line))
        except OSError as err:
            raise StageError(f"cannot write {self._path}: {err.strerror}; free some space, then run again to continue") from err
        if self._board:
            self._board.write(line)

    def close(self) -> None:
        if self._board:
            self._board.close()
        self._file.close()


def write_summary(folder: Path, terms: tuple[str, ...], facts: Mapping[str, Any]) -> dict[str, Any]:
    """OUT/summary.json: `facts`, and losses.TERM.{first, last}, means over the first and last 5 % of the logged steps.

    Lines without losses (a validation that was made up) are passed over.
    """
    lines = [line for line in read_lines(folder / "metrics.jsonl") if "train/total" in line]
    count = max(1, round(ENDS * len(lines)))
    losses = {name: {"first": _mean(lines[:count], name), "last": _mean(lines[-count:], name)} for name in (*terms, "total")}
    summary = {**facts, "losses": losses}
    write_json(folder / "summary.json", summary)
    return summary


def _mean(lines: list[dict[str, Any]], name: str) -> float:
    return sum(line[f"train/{name}"] for line in lines) / len(lines)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """All whole lines; a killed training may leave half a line at the end."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]


def _encoded(line: Mapping[str, Any]) -> bytes:
    return (json.dumps(line) + "\n").encode()
