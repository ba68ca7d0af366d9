"""Attribute combinations that fill the 27 labels evenly, from a seed. Pure Python.

Balanced means stratified: within every block of consecutive prompts each value of an attribute comes equally often, in an order drawn from
the seed. Real caption sets name few children, hats, bags or purple trousers; here the tails are as full as the rest. Prompt i depends on
(seed, i) alone, so a longer run begins with the prompts of a shorter one.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.contracts.attributes import LOWER_COLOURS, UPPER_COLOURS
from pipeline.seeds import derive_seed

DRESS_COLOURS = tuple(c for c in UPPER_COLOURS if c in LOWER_COLOURS)  # a dress is upper and lower clothes in one colour
_AGES = ("child", "adult", "adult", "elderly")  # labels know under and over 18 only; a quarter of children is far above real sets
_CARRIED = ("backpack", "handbag", "bag", None)  # the three bag labels are disjoint, and a quarter goes without
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


def sample_look(seed: int, index: int) -> Look:
    """The combination of prompt `index`."""

    def draw(name: str, options: Sequence[str | bool | None]) -> str | bool | None:
        return _stratified(seed, name, index, options)

    gender = str(draw("gender", ("woman", "man")))
    lower_type = str(draw(f"lower_type_{gender}", _WOMAN_LOWER if gender == "woman" else _MAN_LOWER))
    either = str(draw("lower_length", ("short", "long")))
    upper = str(draw("upper_colour", UPPER_COLOURS))
    lower = str(draw("lower_colour", LOWER_COLOURS))
    if lower_type == "dress":
        upper = lower = str(draw("dress_colour", DRESS_COLOURS))
    carried = draw("carried", _CARRIED)
    return Look(
        gender=gender,
        age=str(draw("age", _AGES)),
        hair_length=str(draw("hair_length", ("short", "long"))),
        hat=bool(draw("hat", (True, False))),
        carried=None if carried is None else str(carried),
        sleeve_length=str(draw("sleeve_length", ("short", "long"))),
        lower_type=lower_type,
        lower_length={"pants": "long", "shorts": "short"}.get(lower_type, either),
        upper_colour=upper,
        lower_colour=lower,
    )


def stated_labels(look: Look) -> dict[str, int]:
    """What a sentence about this look states, in the polarity of PERSON_27. Absent things are not mentioned, so not stated."""
    labels = {
        "gender": int(look.gender == "man"),
        "age": int(look.age != "child"),
        "hair_length": int(look.hair_length == "long"),
        "sleeve_length": int(look.sleeve_length == "short"),
        "lower_length": int(look.lower_length == "short"),
        "lower_type": int(look.lower_type in ("pants", "shorts")),
    }
    labels |= {"hat": 0} if look.hat else {}
    labels |= {look.carried: 0} if look.carried is not None else {}
    labels |= {f"upper_{colour}": int(colour != look.upper_colour) for colour in UPPER_COLOURS}
    return labels | {f"lower_{colour}": int(colour != look.lower_colour) for colour in LOWER_COLOURS}


def _stratified(seed: int, name: str, index: int, options: Sequence[str | bool | None]) -> str | bool | None:
    """Entry `index` of an endless sequence in which every block of len(options) holds each once, shuffled by (seed, name, block)."""
    block, place = divmod(index, len(options))
    order = list(options)
    random.Random(derive_seed(seed, "look", name, block)).shuffle(order)
    return order[place]
