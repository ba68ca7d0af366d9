"""How many pictures at once: a fixed number that memory may halve, or one that is found by trying."""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import TypeVar

from generation.backends.memory import is_out_of_memory, release_memory
from pipeline.contracts.errors import StageError

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_TRY, MAX_TRY = 2, 64
_WORTH = 1.05  # a doubling must make more pictures a second by this factor


class BatchSize:
    """`size` is what the next batch may hold. configured 0: doubled from FIRST_TRY as long as that is faster and fits."""

    def __init__(self, configured: int) -> None:
        self.size = configured or FIRST_TRY
        self._growing = configured == 0
        self._rate = 0.0

    def worked(self, count: int, seconds: float) -> None:
        """A batch of `count` took so long. Partial batches say nothing about the speed of whole ones."""
        if not self._growing or count < self.size:
            return
        rate = count / max(seconds, 1e-9)
        if rate < _WORTH * self._rate:
            self.size, self._growing = max(self.size // 2, 1), False
        elif self.size < MAX_TRY:
            self._rate, self.size = rate, self.size * 2
        else:
            self._growing = False
        if not self._growing:
            log.info("batch size found by trying: %d", self.size)

    def did_not_fit(self, count: int) -> bool:
        """Halve what was tried; False if it was a single picture already."""
        self._growing = False
        self.size = (min(self.size, count) + 1) // 2
        return count > 1


def in_batches(size: BatchSize, count: int, run: Callable[[int, int], Sequence[T]], way_out: str) -> list[T]:
    """run(start, stop) over 0..count in batches, halved for good when memory runs out. Raises StageError(way_out) if one does not fit."""
    done: list[T] = []
    while len(done) < count:
        start, stop = len(done), min(len(done) + size.size, count)
        started = perf_counter()
        try:
            done += run(start, stop)
        except Exception as err:
            if not is_out_of_memory(err):
                raise
            if not size.did_not_fit(stop - start):
                raise StageError(way_out) from err
        else:
            size.worked(stop - start, perf_counter() - started)
            continue
        release_memory()
        log.warning("out of memory: %d at once from here on", size.size)
    return done
