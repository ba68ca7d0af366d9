"""The template grammar of the challenge's texts, in both directions: bits and tags to sentences, and sentences to what they say.

A pedestrian text is two sentences: head, age, view and at most one bag; then *either* what is worn (hat, glasses, coat, boots) *or*
sleeves, pattern and skirt. So a line's bits say more than its text. The spelling "wearning" and the comma without a space are those of
the published lines, and readers accept the right spelling too. "boots" occurs in texts and has no bit.
"""

import re
from collections.abc import Sequence
from random import Random

from pipeline.contracts.challenge import BITS_21, EXCLUSIVE_BITS, FEMALE, VehicleTag
from pipeline.contracts.errors import ContractError

HEADS = (
    "A {gender} pedestrian who is",
    "A {gender} pedestrian is someone who walks on foot, is",
    "A pedestrian who is {gender} is",
    "A walking {noun} who is",
)
AGES = {
    1: ("aged 60 or older", "aged over 60", "at least 60 years old", "an elderly person over 60 years old"),
    2: ("an adult person aged 18-60", "between 18 and 60 years old"),
    3: ("a minor", "age 18 or younger", "less than 18 years old", "not an adult"),
}
VIEWS = {4: "with {possessive} body facing the camera", 5: "and is standing sideways", 6: "with {possessive} body back to the camera"}
BAGS = {  # in order of precedence: one bag is named at most
    9: ("with a handbag", "carrying a handbag", "holding a handbag", "clutching a handbag"),
    10: ("with a shoulderbag", "has a shoulderbag", "is carrying a shoulder bag", "has a bag over the shoulder"),
    11: ("with a backpack", "carrying a backpack"),
    12: ("holds objects in front",),
}
WORN = {7: ("a hat",), 8: ("glasses",), 19: ("a longcoat", "a coat that is long")}
SLEEVES = ("{length} sleeve shirt", "shirt with {length} sleeves", "tee shirt with {length} sleeves")
SLEEVE_LENGTHS = {13: "short", 14: "long"}
PATTERNS = {15: "stripe", 16: "logo", 17: "plaid", 18: "splice"}
SKIRT, SKIRTS = 20, ("and in a skirt or dress", "and wearing skirt or dress")

_SAID = {  # bit -> what a text that names it contains
    **{bit: "|".join(map(re.escape, forms)) for bit, forms in AGES.items()},
    4: "facing the camera",
    5: "standing sideways",
    6: "back to the camera",
    7: r"wearn?ing .*?\ba hat",
    8: r"wearn?ing .*?\bglasses",
    9: "a hand ?bag",
    10: "shoulder ?bag|bag over the shoulder",
    11: "backpack",
    12: "holds objects in front",
    **{bit: f"{length} sleeve" for bit, length in SLEEVE_LENGTHS.items()},
    **{bit: f"upper {name}|{name} on the upper" for bit, name in PATTERNS.items()},
    19: "long ?coat|coat that is long",
    20: "skirt or dress",
}
_PATTERNS = {bit: re.compile(rf"\b(?:{said})", re.IGNORECASE) for bit, said in _SAID.items()}
_FEMALE = re.compile(r"\b(female|woman|she|her)\b", re.IGNORECASE)
_MALE = re.compile(r"\b(male|man|he|his)\b", re.IGNORECASE)
_PERSON = re.compile(r"\bpedestrian\b|\bwalking (?:wo)?man\b", re.IGNORECASE)


def write_pedestrian(bits: Sequence[int], rng: Random, boots: bool = False) -> str:
    """One text for 21 bits, its wording drawn from `rng`. It never says more than the bits (and `boots`) do.

    Raises ContractError unless there are 21 values of 0 or 1 with exactly one age, one view and one sleeve bit.
    """
    _check(bits)
    words = dict(zip(("gender", "noun", "possessive"), ("female", "woman", "her") if bits[FEMALE] else ("male", "man", "his"), strict=True))
    age, view = (next(b for b in group if bits[b]) for group in EXCLUSIVE_BITS[:2])
    bag = next((b for b in BAGS if bits[b]), None)
    first = f"{rng.choice(HEADS)} {rng.choice(AGES[age])}, {VIEWS[view]}".format(**words)
    carried = f" and {rng.choice(BAGS[bag])}" if bag else ""
    return f"{first}{carried}. {'She' if bits[FEMALE] else 'He'} is {_worn(bits, rng, boots) or _clothes(bits, rng)}."


def write_vehicle(tag: VehicleTag, rng: Random) -> str:
    """ "This is a white Audi." or "A white Audi."; "an" before orange only, so "a SUV" as in the published lines."""
    article = "an" if tag.colour == "orange" else "a"
    return f"This is {article} {tag}" if rng.random() < 0.5 else f"{article.capitalize()} {tag}"


def mentioned(text: str) -> tuple[int, ...]:
    """What a pedestrian text says of the 21 bits: 1 named, 0 ruled out by what is named, -1 not said.

    0 arises for a male's first bit and for the other members of an age, view or sleeve group. A text outside the grammar gives -1 where
    nothing is recognised; it never raises.
    """
    said = [-1] * len(BITS_21)
    if _FEMALE.search(text):
        said[FEMALE] = 1
    elif _MALE.search(text):
        said[FEMALE] = 0
    for bit, pattern in _PATTERNS.items():
        if pattern.search(text):
            said[bit] = 1
    for group in EXCLUSIVE_BITS:
        if sum(said[bit] == 1 for bit in group) == 1:
            for bit in group:
                said[bit] = max(said[bit], 0)
    return tuple(said)


def is_pedestrian_text(text: str) -> bool:
    """The routing rule for queries: a text about a pedestrian or a walking man or woman; everything else is about a vehicle."""
    return _PERSON.search(text) is not None


def _worn(bits: Sequence[int], rng: Random, boots: bool) -> str:
    items = [rng.choice(forms) for bit, forms in WORN.items() if bits[bit]] + ["boots"] * boots
    return "wearning " + ",".join(items) if items else ""


def _clothes(bits: Sequence[int], rng: Random) -> str:
    length = next(name for bit, name in SLEEVE_LENGTHS.items() if bits[bit])
    parts = ["in a " + rng.choice(SLEEVES).format(length=length)]
    pattern = next((name for bit, name in PATTERNS.items() if bits[bit]), None)
    if pattern == "stripe":  # the one pattern with a single form
        parts.append("with an upper stripe")
    elif pattern:
        parts.append(rng.choice((f"with an upper {pattern}", f"with a {pattern} on the upper")))
    if bits[SKIRT]:
        parts.append(rng.choice(SKIRTS))
    return " ".join(parts)


def _check(bits: Sequence[int]) -> None:
    if len(bits) != len(BITS_21) or any(bit not in (0, 1) for bit in bits):
        raise ContractError(f"bits {list(bits)}; accepted: {len(BITS_21)} values of 0 or 1")
    for group in EXCLUSIVE_BITS:
        if sum(bits[bit] for bit in group) != 1:
            raise ContractError(f"bits {list(bits)}: exactly one of {', '.join(BITS_21.names[b] for b in group)} must be set")
