"""Asked to leave: what a task does when Slurm or a user wants it to stop. Killing it outright is safe too, this only loses less."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from pipeline.contracts.errors import StageError


class Stopped(StageError):
    """The task left because it was asked to. What is done stays done; running again makes the rest."""

    exit_code = 75  # EX_TEMPFAIL: neither done nor failed; who asked can tell


class StopRequest:
    """SIGUSR1 (a warning: time is nearly up) lets the unit in hand finish; SIGTERM drops it after the batch in hand."""

    def __init__(self) -> None:
        self.received: int | None = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number

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
def stop_requests() -> Iterator[StopRequest]:
    """Listen while the block runs, then restore the handlers. Outside the main thread, where Python cannot listen, nothing is received."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in (signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
