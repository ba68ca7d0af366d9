"""The target distribution of the prompt sampler: shares per value, written in the recipe under prompts.target.

    prompts:
      target:
        gender: {woman: 0.4, man: 0.6}
        hat: {with: 0.3, without: 0.7}
        upper_colour: {black: 3, white: 2, purple: 1}       # weights need not add up to 1; values that are not named get none
        lower_type_woman: {pants: 5, skirt: 1}

The names below cover the 27 attributes: `carried` is backpack, handbag and bag, `upper_colour` and `lower_colour` the 17 colours, `age`
splits under 18 (child) from over. `dress_colour` is the one colour of a dress, upper and lower at once. A name that is left out keeps the
sampler's own shares, which fill the long tail.
"""

import difflib
from collections.abc import Mapping
from typing import Any

from pipeline.contracts.attributes import LOWER_COLOURS, UPPER_COLOURS
from pipeline.contracts.errors import ConfigError

Option = str | bool | None
BLOCK_SIZE = 1000  # prompts after which every share is met exactly, to this resolution
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


def check_target(target: Mapping[str, Any]) -> None:
    """Raises ConfigError naming the first unknown name, unknown value, or impossible weight."""
    for name, weights in target.items():
        where = f"prompts.target.{name}"
        _known(name, VALUES, "prompts.target")
        if not isinstance(weights, Mapping) or not weights:
            raise ConfigError(f"{where}={weights!r}; accepted: weights of {', '.join(VALUES[name])}")
        for value, weight in weights.items():
            _known(value, VALUES[name], where)
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
                raise ConfigError(f"{where}.{value}={weight!r}; accepted: a number, 0 or more")
        if sum(weights.values()) <= 0:
            raise ConfigError(f"{where}: all weights are 0; give at least one value a weight above 0")


def blocks(target: Mapping[str, Any]) -> dict[str, tuple[Option, ...]]:
    """name -> BLOCK_SIZE values in their shares, by largest remainder, so that a block has exactly this length."""
    return {name: _block(name, weights) for name, weights in target.items()}


def _block(name: str, weights: Mapping[str, float]) -> tuple[Option, ...]:
    total = sum(weights.values())
    exact = {value: BLOCK_SIZE * weights.get(value, 0) / total for value in VALUES[name]}
    counts = {value: int(share) for value, share in exact.items()}
    missing = BLOCK_SIZE - sum(counts.values())
    for value in sorted(exact, key=lambda v: counts[v] - exact[v])[:missing]:
        counts[value] += 1
    return tuple(VALUES[name][value] for value, count in counts.items() for _ in range(count))


def _known(name: Any, accepted: Mapping[str, Any], where: str) -> None:
    if name not in accepted:
        near = difflib.get_close_matches(str(name), accepted, n=1)
        hint = f"did you mean {near[0]}?" if near else f"accepted: {', '.join(accepted)}"
        raise ConfigError(f"{where}: unknown {name!r}; {hint}")
