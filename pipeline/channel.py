"""A bounded hand-over between two threads that can be called off."""

import threading
import time
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class CalledOffError(Exception):
    """Another thread has failed or was asked to stop; unwind quietly."""


class Channel(Generic[T]):
    """First in, first out, `size` things at most: a fast side waits for the slow one, so memory is bounded.

    waited_to_put, waited_to_get: seconds that either side has waited so far.
    """

    def __init__(self, size: int) -> None:
        self._size, self._things = size, deque[T]()
        self._changed = threading.Condition()
        self._off = False
        self.waited_to_put = self.waited_to_get = 0.0

    def put(self, thing: T) -> None:
        """Raises CalledOffError if the hand-over was called off meanwhile."""
        started = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._off or len(self._things) < self._size)
            self.waited_to_put += time.monotonic() - started
            self._check()
            self._things.append(thing)
            self._changed.notify_all()

    def get(self) -> T:
        """Raises CalledOffError if the hand-over was called off meanwhile."""
        started = time.monotonic()
        with self._changed:
            self._changed.wait_for(lambda: self._off or self._things)
            self.waited_to_get += time.monotonic() - started
            self._check()
            thing = self._things.popleft()
            self._changed.notify_all()
            return thing

    def call_off(self) -> None:
        """Wake both sides with CalledOffError, now and from now on."""
        with self._changed:
            self._off = True
            self._changed.notify_all()

    def _check(self) -> None:
        if self._off:
            raise CalledOffError
