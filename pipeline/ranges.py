"""What a number of a config may be. One line per section in its __post_init__, so that no number goes unchecked into a training.

NaN and infinity are in no range: YAML writes them `.nan` and `.inf`, and comparisons with NaN let it pass everywhere else.
"""

import math
from dataclasses import dataclass
from typing import Any

from pipeline.contracts.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Range:
    """An interval; without an end where that is infinite."""

    least: float
    most: float = math.inf
    open_below: bool = False
    open_above: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.least if self.open_below else value >= self.least
        below = value < self.most if self.open_above else value <= self.most
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        if self.most == math.inf:
            return f"above {self.least:g}" if self.open_below else f"{self.least:g} and more"
        first = f"above {self.least:g}" if self.open_below else f"{self.least:g}"
        return f"{first} to {'below ' if self.open_above else ''}{self.most:g}"


POSITIVE = Range(0, open_below=True)
NOT_NEGATIVE = Range(0)
COUNT = Range(1)  # of what there must be at least one
SHARE = Range(0, 1)
BELOW_1 = Range(0, 1, open_above=True)


def check_ranges(section: str, config: Any, **ranges: Range) -> None:
    """Refuse a field of `config` that is outside its range; of a tuple, every item counts; None is no number and passes.

    Raises ConfigError naming `section.field`, the value and the range.
    """
    for name, allowed in ranges.items():
        value = getattr(config, name)
        values = value if isinstance(value, tuple | list) else (value,)
        if not all(item is None or item in allowed for item in values):
            shown = list(value) if isinstance(value, tuple) else value
            raise ConfigError(f"{section}{'.' if section else ''}{name}={shown}; accepted: {allowed}")


def check_filled(section: str, config: Any, *names: str) -> None:
    """Refuse an empty name of a file or folder, which would mean the folder that the command was started in. None passes."""
    for name in names:
        value = getattr(config, name)
        if isinstance(value, str) and not value.strip():
            raise ConfigError(f"{section}{'.' if section else ''}{name}={value!r}; accepted: a path or name that is not empty")
