"""A dictionary that computes what it lacks."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
MAX_REMEMBERED = 1 << 16  # a process that annotates random words grows by no more than 170 MB


class Remembered(dict[Key, Value], Generic[Key, Value]):
    """Key -> what a pure function makes of it; forgets all when it becomes large. Faster than `lru_cache` where nearly all is known."""

    def __init__(self, function: Callable[[Key], Value]) -> None:
        self._function = function

    def __missing__(self, key: Key) -> Value:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        value = self[key] = self._function(key)
        return value
