"""Asked to leave: what a task does when Slurm or a user wants it to stop. Killing it outright is safe too, this only loses less."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.contracts.errors import StageError

SAME_KEYSTROKE_S = 1.0  # launchers such as torchrun pass a Ctrl-C on that the terminal has sent to their workers already


class Stopped(StageError):
    """The task left because it was asked to. What is done stays done; running again makes the rest."""

    exit_code = 75  # EX_TEMPFAIL: neither done nor failed; who asked can tell


class StopRequest:
    """SIGUSR1 (a warning: time is nearly up) lets the unit in hand finish; SIGTERM drops it after the batch in hand."""

    def __init__(self) -> None:
        self.received: int | None = None
        self._interrupted_s = -SAME_KEYSTROKE_S

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-C: the first one asks, as a warning does; a second one does not wait. Raises KeyboardInterrupt then."""
        now = time.monotonic()
        if self.received == number and now - self._interrupted_s < SAME_KEYSTROKE_S:
            return
        if self.received is not None:
            raise KeyboardInterrupt
        self.received, self._interrupted_s = number, now
        print("stopping after the work in hand; Ctrl-C again stops at once", file=sys.stderr, flush=True)

    @property
    def drops(self) -> bool:
        """Whether the unit in hand is to be dropped."""
        return self.received == signal.SIGTERM

    def stopped(self, how: str) -> Stopped:
        assert self.received is not None
        return Stopped(f"stopped by {signal.Signals(self.received).name} {how}; run again to continue")

    def check_batch(self, unit: int) -> None:
        if self.drops:
            raise Stopped(f"stopped by SIGTERM, unit {unit} was dropped unfinished; run again to continue")

    def check_unit(self, unit: int) -> None:
        if self.received is not None:
            raise self.stopped(f"after unit {unit}")


@contextmanager
def stop_requests(interrupts: bool = False) -> Iterator[StopRequest]:
    """Listen while the block runs, then restore the handlers. Outside the main thread, where Python cannot listen, nothing is received.

    interrupts: Ctrl-C is a request too, for work that would lose much if it ended at once.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGUSR1)}
    if interrupts:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, request.interrupt)
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
