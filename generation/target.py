"""The target distribution of the prompt sampler: shares per value, written in the recipe under prompts.target (docs/generation.md).

A name that is left out keeps the sampler's own shares, which fill the long tail.
"""

import difflib
from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.contracts.attributes import LOWER_COLOURS, UPPER_COLOURS
from pipeline.contracts.errors import ConfigError

Option = str | bool | None
BLOCK_SIZE = 1000  # prompts in which every share is met exactly, to this resolution
MAX_WEIGHT = 10**9  # counts of a large set fit; shares are reckoned in floats, which overflow at 1e308
DRESS_COLOURS = tuple(c for c in UPPER_COLOURS if c in LOWER_COLOURS)  # a dress is upper and lower clothes in one colour
_LENGTHS: dict[str, Option] = {"short": "short", "long": "long"}
VALUES: dict[str, dict[str, Option]] = {  # name -> spelling in the recipe -> value of the look
    "gender": {"woman": "woman", "man": "man"},
    "age": {"child": "child", "adult": "adult", "elderly": "elderly"},
    "hair_length": _LENGTHS,
    "hat": {"with": True, "without": False},
    "carried": {"backpack": "backpack", "handbag": "handbag", "bag": "bag", "nothing": None},
    "sleeve_length": _LENGTHS,
    "lower_type_woman": {name: name for name in ("pants", "shorts", "skirt", "dress")},
    "lower_type_man": {name: name for name in ("pants", "shorts")},
    "lower_length": _LENGTHS,  # of skirts and dresses; trousers are long, shorts short
    "upper_colour": {name: name for name in UPPER_COLOURS},
    "lower_colour": {name: name for name in LOWER_COLOURS},
    "dress_colour": {name: name for name in DRESS_COLOURS},
}
COLOURS = ("upper_colour", "lower_colour", "dress_colour")


def check_target(target: Mapping[str, Any]) -> None:
    """Raises ConfigError naming the first unknown name, unknown value, or impossible weight, or if the colours leave too few dresses."""
    for name, weights in target.items():
        where = f"prompts.target.{name}"
        _known(name, VALUES, "prompts.target")
        if not isinstance(weights, Mapping) or not weights:
            raise ConfigError(f"{where}={weights!r}; accepted: weights of {', '.join(VALUES[name])}")
        for value, weight in weights.items():
            _known(value, VALUES[name], where)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= MAX_WEIGHT:
                hint = "; of numbers with an exponent YAML takes 1.0e+9, not 1e9" if isinstance(weight, str) else ""
                raise ConfigError(f"{where}.{value}={weight!r}; accepted: a number from 0 to {MAX_WEIGHT}{hint}")
        if sum(weights.values()) <= 0:
            raise ConfigError(f"{where}: all weights are 0; give at least one value a weight above 0")
    _refuse_too_many_dresses(target)


def apportion(weights: Mapping[str, float], number: int) -> Counter[str]:
    """So many in shares of these weights, by largest remainder. All weights may be 0 if the number is."""
    total = sum(weights.values()) or 1
    exact = {value: number * weight / total for value, weight in weights.items()}
    counts = Counter({value: int(share) for value, share in exact.items()})
    missing = number - counts.total()
    counts.update(sorted(exact, key=lambda value: (counts[value] - exact[value], value))[:missing])
    return counts


def colours_for_dresses(target: Mapping[str, Any]) -> Counter[str]:
    """Of a block of people in the target's upper_colour, lower_colour or both: how many may wear a dress, by colour of it."""
    counts = [apportion(target[name], BLOCK_SIZE) for name in ("upper_colour", "lower_colour") if name in target]
    return Counter({colour: min(count[colour] for count in counts) for colour in DRESS_COLOURS})


def _refuse_too_many_dresses(target: Mapping[str, Any]) -> None:
    """Raises ConfigError where stated shares contradict each other."""
    if "lower_type_woman" not in target or "dress_colour" in target or not {"upper_colour", "lower_colour"} & set(target):
        return
    women = apportion(target.get("gender", {"woman": 1, "man": 1}), BLOCK_SIZE)["woman"]
    dresses, most = apportion(target["lower_type_woman"], women)["dress"], colours_for_dresses(target).total()
    if dresses > most:
        raise ConfigError(
            f"prompts.target: of {BLOCK_SIZE} people {dresses} wear a dress, but upper_colour and lower_colour leave {most} in a colour "
            f"that a dress may have ({', '.join(DRESS_COLOURS)}; upper and lower at once); give dress_colour, or fewer dresses"
        )


def _known(name: Any, accepted: Mapping[str, Any], where: str) -> None:
    if name not in accepted:
        near = difflib.get_close_matches(str(name), accepted, n=1)
        hint = f"did you mean {near[0]}?" if near else f"accepted: {', '.join(accepted)}"
        raise ConfigError(f"{where}: unknown {name!r}; {hint}")
