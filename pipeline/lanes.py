"""Device work of a stage, drawn ahead by threads of its own; results come back in order.

A stage that has `compute` and `finish` (contracts/stage.py: SplitStage) keeps its device busy this way: while pictures are encoded and a
unit is written, the next batches, those of the next unit too, are under way.
"""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.channel import CalledOffError
from pipeline.contracts.stage import Item, SplitStage

AHEAD = 2  # batches that may lie computed and not yet taken, beyond one in each lane's hands


@dataclass(frozen=True, slots=True)
class Step:
    """What a stage thread does next with a unit: one batch, or its end (batch None). skipped: the unit was not begun."""

    unit: int
    batch: list[Item] | None = None
    skipped: bool = False


@dataclass(slots=True)
class LaneTimes:
    """Sums over the lanes, in seconds. waited: for room, because what comes behind was slower."""

    cpu: float = 0.0
    waited: float = 0.0


class Lanes:
    """`stage.num_lanes` threads that take steps in order, compute their batches side by side, and hand them out in order by `take`."""

    def __init__(self, stage: SplitStage, steps: Iterator[Step], on_error: Callable[[BaseException], None]) -> None:
        self._stage, self._steps, self._on_error = stage, steps, on_error
        self.num_lanes = stage.num_lanes
        self._ahead = stage.num_lanes + AHEAD
        self._given = self._taken = 0
        self._results: dict[int, tuple[Step, Any, float]] = {}
        self._changed = threading.Condition()
        self._off = False
        self.times = LaneTimes()
        self._threads = [threading.Thread(target=self._work, name=f"{stage.name}-lane-{i}") for i in range(stage.num_lanes)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def take(self) -> tuple[Step, Any, float]:
        """The next step, what `compute` made of its batch (None without one), and the seconds that took. Raises CalledOffError."""
        with self._changed:
            self._changed.wait_for(lambda: self._off or self._taken in self._results)
            if self._off:
                raise CalledOffError
            result = self._results.pop(self._taken)
            self._taken += 1
            self._changed.notify_all()
            return result

    def call_off(self) -> None:
        with self._changed:
            self._off = True
            self._changed.notify_all()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        try:
            while (given := self._next()) is not None:
                number, step = given
                started, cpu = time.monotonic(), time.thread_time()
                computed = self._stage.compute(step.batch) if step.batch is not None else None
                seconds = time.monotonic() - started
                with self._changed:
                    self.times.cpu += time.thread_time() - cpu
                    self._results[number] = (step, computed, seconds)
                    self._changed.notify_all()
        except BaseException as err:  # of whatever kind: the thread that waits for us must learn of it
            self._on_error(err)

    def _next(self) -> tuple[int, Step] | None:
        """The next step and its number, as soon as there is room for its result; None when there are no more."""
        started = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._off or self._given - self._taken < self._ahead)
            self.times.waited += time.monotonic() - started
            step = None if self._off else next(self._steps, None)
            if step is None:
                return None
            self._given += 1
            return self._given - 1, step
