"""A dictionary that computes what it lacks."""

from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")
MAX_REMEMBERED = 1 << 16  # a process that annotates random words grows by no more than 150 MB


class Remembered(dict[str, Value], Generic[Value]):
    """Text -> what a pure function makes of it; forgets all when it becomes large. Faster than `lru_cache` where nearly all is known."""

    def __init__(self, function: Callable[[str], Value]) -> None:
        self._function = function

    def __missing__(self, text: str) -> Value:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
        value = self[text] = self._function(text)
        return value
