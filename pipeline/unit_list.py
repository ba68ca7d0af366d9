"""Lists of units as text, `3,7,10-20,30-60:5`: what a worker is told to make. Ranges include their end, `:5` takes each fifth."""

import re
from collections.abc import Iterable

from pipeline.contracts.errors import ConfigError

_SPAN = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?")


def parse_units(text: str, num_units: int) -> list[int]:
    """Units in the list, ascending, each once. Raises ConfigError on what is no list or goes beyond the run."""
    units: set[int] = set()
    for part in text.split(","):
        if (span := read_span(part.strip())) is None:
            raise ConfigError(f"--units {text!r}: {part!r} is no unit; accepted: a list like 3,7,10-20 or 0-99:5")
        first, last, step = span
        if last < first or step < 1 or last >= num_units:
            raise ConfigError(f"--units {text!r}: {part!r} goes beyond the run; accepted: 0 to {num_units - 1}, ranges that ascend")
        units.update(range(first, last + 1, step))
    return sorted(units)


def read_span(part: str) -> tuple[int, int, int] | None:
    """`7`, `3-5` or `0-8:4` -> (first, last, step), the last one included; None for anything else."""
    match = _SPAN.fullmatch(part)
    return (int(match[1]), int(match[2] or match[1]), int(match[3] or 1)) if match else None


def format_units(units: Iterable[int]) -> str:
    """The shortest such text by taking the longest range from each unit on; runs of two are written out."""
    left = sorted(set(units))
    parts = []
    while left:
        count = 1
        step = left[1] - left[0] if len(left) > 1 else 1
        while count < len(left) and left[count] == left[0] + count * step:
            count += 1
        if count < 3:
            count = 1
        last = left[count - 1]
        parts.append(str(left[0]) if count == 1 else f"{left[0]}-{last}" + (f":{step}" if step > 1 else ""))
        left = left[count:]
    return ",".join(parts)
