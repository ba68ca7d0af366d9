"""How far a stage is, from the done records that appear while it runs. One line now and then: no bars, so that logs stay readable."""

import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from pipeline.completion import read_record
from pipeline.paths import RunPaths

HEARTBEAT_S = 15.0
T = TypeVar("T")


class StageProgress:
    """Counts units of one stage as they finish. Speed and remaining time come from what finished since this object was made."""

    def __init__(self, paths: RunPaths, stage: str, num_units: int, waiting: Iterable[int], label: str = "") -> None:
        self._paths = paths
        self._stage = stage
        self._label = label or stage
        self._num_units = num_units
        self._started = self._printed = time.monotonic()
        self._images = 0
        self._waiting = {unit: _stamp(paths.done(stage, unit)) for unit in waiting}
        self._num_todo = len(self._waiting)

    def poll(self) -> str | None:
        """A line to print, if units have finished since the last call or nothing was said for a while."""
        finished = [unit for unit, before in self._waiting.items() if _stamp(self._paths.done(self._stage, unit)) not in (None, before)]
        for unit in finished:
            del self._waiting[unit]
            record = read_record(self._paths, self._stage, unit)
            self._images += record.counts.seen if record else 0
        now = time.monotonic()
        if not finished and (now - self._printed < HEARTBEAT_S or not self._waiting):
            return None
        self._printed = now
        return self.line()

    def line(self) -> str:
        """For example `generate    3/12 units    18.2 images/s   ETA 0:42`."""
        elapsed = time.monotonic() - self._started
        made = self._num_todo - len(self._waiting)
        done = self._num_units - len(self._waiting)
        rate = self._images / elapsed if elapsed > 0 else 0.0
        speed = f"{rate:.1f} images/s" if rate >= 1 else f"{rate:.3f} images/s" if self._images else "- images/s"
        if not self._waiting:
            left = f"took {clock(elapsed)}"
        else:
            left = f"ETA {clock(elapsed / made * len(self._waiting))}" if made else f"running for {clock(elapsed)}"
        return f"{self._label:<9} {done:>4}/{self._num_units} units   {speed:>16}   {left}"


def bar(items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
    """The items one after the other, with a bar on stderr while somebody looks (no file, no pipe). total: of items without a length."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(items, label, total=total, console=console, transient=True, disable=not console.is_terminal)


def clock(seconds: float) -> str:
    """Seconds as 0:42, 12:05 or 3:07:00."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _stamp(path: Path) -> tuple[int, int] | None:
    """Tells a record that is written again from the stale one that lay there before."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ino
