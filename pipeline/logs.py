"""Logging of one task: to stderr, which the local runner or Slurm keeps as the one log file of the task."""

import logging
import sys
from collections import Counter
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_REPEATS = 5


class RateLimit(logging.Filter):
    """Lets each kind of warning through `repeats` times, then counts. A kind is the message before its arguments are put in."""

    def __init__(self, repeats: int = _REPEATS) -> None:
        super().__init__()
        self._repeats = repeats
        self._seen: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno != logging.WARNING:
            return True
        kind = (record.name, str(record.msg))
        self._seen[kind] += 1
        if self._seen[kind] == self._repeats:
            record.msg = f"{record.msg} (further ones like this are only counted)"
        return self._seen[kind] <= self._repeats

    def summary(self) -> list[str]:
        """One line per kind of warning that was held back."""
        return [f"{n - self._repeats} more warnings like: {kind[1]}" for kind, n in self._seen.items() if n > self._repeats]


class TaskLog:
    """Logging of this process as a context: set up on entry, held-back warnings summed up on exit."""

    def __init__(self) -> None:
        self._limit = RateLimit()
        self._handler = logging.StreamHandler(sys.stderr)
        self._handler.setFormatter(logging.Formatter(_FORMAT, datefmt="%Y-%m-%dT%H:%M:%S"))
        self._handler.addFilter(self._limit)

    def __enter__(self) -> "TaskLog":
        root = logging.getLogger()
        root.addHandler(self._handler)
        root.setLevel(logging.INFO)
        return self

    def __exit__(self, *error: object) -> None:
        for line in self._limit.summary():
            logging.getLogger(__name__).info(line)
        logging.getLogger().removeHandler(self._handler)


def last_lines(path: Path, count: int, start: int = 0) -> list[str]:
    """The last `count` non-empty lines of a log, looking at no more than 64 KiB of what lies behind byte `start`."""
    with open(path, "rb") as file:
        file.seek(max(start, path.stat().st_size - 65536))
        lines = file.read().decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][-count:]
