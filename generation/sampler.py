"""Attribute combinations that fill the 27 labels evenly, from a seed. Pure Python.

Balanced means stratified: within every block of consecutive prompts each value of an attribute comes equally often, in an order drawn from
the seed. Real caption sets name few children, hats, bags or purple trousers; here the tails are as full as the rest. Prompt i depends on
(seed, i) alone, so a longer run begins with the prompts of a shorter one. Shares of one's own: generation/target_sampler.py.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from generation.target import DRESS_COLOURS, Option
from pipeline.contracts.attributes import LOWER_COLOURS, UPPER_COLOURS
from pipeline.seeds import derive_seed

_AGES = ("child", "adult", "adult", "elderly")  # labels know under and over 18 only; a quarter of children is far above real sets
_CARRIED = ("backpack", "handbag", "bag", None)  # the three bag labels are disjoint, and a quarter goes without
_EVEN = (True, False)
_WOMAN_LOWER = ("pants", "shorts", "skirt", "dress", "skirt", "dress")  # makes up for men, who are drawn without
_MAN_LOWER = ("pants", "shorts")


@dataclass(frozen=True, slots=True)
class Look:
    """One combination, always consistent: trousers are long, shorts short, a dress has one colour."""

    gender: str  # woman, man
    age: str  # child, adult, elderly
    hair_length: str  # short, long
    hat: bool
    carried: str | None  # backpack, handbag, bag
    sleeve_length: str  # short, long
    lower_type: str  # pants, shorts, skirt, dress
    lower_length: str  # short, long
    upper_colour: str
    lower_colour: str


DEFAULT_BLOCKS: dict[str, tuple[Option, ...]] = {
    "gender": ("woman", "man"),
    "age": _AGES,
    "hair_length": ("short", "long"),
    "hat": _EVEN,
    "carried": _CARRIED,
    "sleeve_length": ("short", "long"),
    "lower_type_woman": _WOMAN_LOWER,
    "lower_type_man": _MAN_LOWER,
    "lower_length": ("short", "long"),
    "upper_colour": UPPER_COLOURS,
    "lower_colour": LOWER_COLOURS,
    "dress_colour": DRESS_COLOURS,
}


def sample_look(seed: int, index: int) -> Look:
    """The combination of prompt `index`."""
    return look_of(sample_values(seed, index))


def sample_values(seed: int, index: int) -> dict[str, Option]:
    """A value for every name, also for what this person does not wear."""
    return {name: _stratified(seed, name, index, options) for name, options in DEFAULT_BLOCKS.items()}


def lower_type_of(values: Mapping[str, Option]) -> str:
    return str(values[f"lower_type_{values['gender']}"])


def look_of(values: Mapping[str, Option]) -> Look:
    """The person of whom these values are drawn."""
    lower_type = lower_type_of(values)
    is_dress = lower_type == "dress"
    carried = values["carried"]
    return Look(
        gender=str(values["gender"]),
        age=str(values["age"]),
        hair_length=str(values["hair_length"]),
        hat=bool(values["hat"]),
        carried=None if carried is None else str(carried),
        sleeve_length=str(values["sleeve_length"]),
        lower_type=lower_type,
        lower_length={"pants": "long", "shorts": "short"}.get(lower_type, str(values["lower_length"])),
        upper_colour=str(values["dress_colour" if is_dress else "upper_colour"]),
        lower_colour=str(values["dress_colour" if is_dress else "lower_colour"]),
    )


def _stratified(seed: int, name: str, index: int, options: Sequence[Option]) -> Option:
    """Entry `index` of an endless sequence in which every block of len(options) holds each once, shuffled by (seed, name, block)."""
    block, place = divmod(index, len(options))
    return _shuffled(seed, name, block, tuple(options))[place]


@lru_cache(maxsize=64)
def _shuffled(seed: int, name: str, block: int, options: tuple[Option, ...]) -> tuple[Option, ...]:
    order = list(options)
    random.Random(derive_seed(seed, "look", name, block)).shuffle(order)
    return tuple(order)
