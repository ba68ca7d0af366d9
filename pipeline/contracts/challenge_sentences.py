"""The template grammar of the challenge's texts, in both directions: bits and tags to sentences, and sentences to what they say.

A pedestrian text is two sentences: head, age, view and at most one bag; then *either* what is worn (hat, glasses, coat, boots) *or*
sleeves, pattern and skirt. So a line's bits say more than its text. The spelling "wearning" and the comma without a space are those of
the published lines, and readers accept the right spelling too. "boots" occurs in texts and has no bit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """One pedestrian text, taken apart. Each choice is (bit, number of its wording); `str()` gives the text back.

    Either `worn` or `boots` says what is worn, or `sleeve` and perhaps `pattern` and `skirt` describe clothes.
    """

    female: bool
    head: int
    age: tuple[int, int]
    view: int
    bag: tuple[int, int] | None = None
    worn: tuple[tuple[int, int], ...] = ()
    boots: bool = False
    sleeve: tuple[int, int] | None = None
    pattern: tuple[int, int] | None = None
    skirt: int | None = None

    @property
    def bits(self) -> tuple[int, ...]:
        """The 21 bits that the text names; all others 0."""
        chosen = [choice[0] for choice in (self.age, self.bag, self.sleeve, self.pattern, *self.worn) if choice]
        named = {*chosen, self.view, *([FEMALE] if self.female else []), *([SKIRT] if self.skirt is not None else [])}
        return tuple(int(bit in named) for bit in range(len(BITS_21)))

    def __str__(self) -> str:
        gender, noun, possessive = ("female", "woman", "her") if self.female else ("male", "man", "his")
        first = f"{HEADS[self.head]} {AGES[self.age[0]][self.age[1]]}, {VIEWS[self.view]}"
        first = first.format(gender=gender, noun=noun, possessive=possessive)
        carried = f" and {BAGS[self.bag[0]][self.bag[1]]}" if self.bag else ""
        return f"{first}{carried}. {'She' if self.female else 'He'} is {self._worn() or self._clothes()}."

    def _worn(self) -> str:
        items = [WORN[bit][form] for bit, form in self.worn] + ["boots"] * self.boots
        return "wearning " + ",".join(items) if items else ""

    def _clothes(self) -> str:
        assert self.sleeve is not None, "a text names what is worn or the sleeves"
        parts = ["in a " + SLEEVES[self.sleeve[1]].format(length=SLEEVE_LENGTHS[self.sleeve[0]])]
        if self.pattern:
            parts.append(pattern_forms(self.pattern[0])[self.pattern[1]])
        if self.skirt is not None:
            parts.append(SKIRTS[self.skirt])
        return " ".join(parts)


def pattern_forms(bit: int) -> tuple[str, ...]:
    """The wordings of a pattern; a stripe has a single one."""
    name = PATTERNS[bit]
    return (f"with an upper {name}",) if name == "stripe" else (f"with an upper {name}", f"with a {name} on the upper")


def write_pedestrian(bits: Sequence[int], rng: Random, boots: bool = False) -> str:
    """One text for 21 bits, its wording drawn from `rng`. It never says more than the bits (and `boots`) do.

    Raises ContractError unless there are 21 values of 0 or 1 with exactly one age, one view and one sleeve bit.
    """
    return str(draw_sentence(bits, rng, boots))


def draw_sentence(bits: Sequence[int], rng: Random, boots: bool = False) -> Sentence:
    """As `write_pedestrian`, taken apart."""
    _check(bits)

    def form(options: Sequence[str]) -> int:
        return rng.choice(range(len(options)))

    age, view = (next(b for b in group if bits[b]) for group in EXCLUSIVE_BITS[:2])
    bag = next((b for b in BAGS if bits[b]), None)
    head, age_form = form(HEADS), form(AGES[age])
    bag_form = (bag, form(BAGS[bag])) if bag else None
    worn = tuple((bit, form(forms)) for bit, forms in WORN.items() if bits[bit])
    dressed = not worn and not boots
    sleeve = (next(bit for bit in SLEEVE_LENGTHS if bits[bit]), form(SLEEVES)) if dressed else None
    pattern = next((bit for bit in PATTERNS if bits[bit]), None) if dressed else None
    said = None if pattern is None else (pattern, form(pattern_forms(pattern)) if len(pattern_forms(pattern)) > 1 else 0)
    return Sentence(
        female=bool(bits[FEMALE]),
        head=head,
        age=(age, age_form),
        view=view,
        bag=bag_form,
        worn=worn,
        boots=boots,
        sleeve=sleeve,
        pattern=said,
        skirt=form(SKIRTS) if dressed and bits[SKIRT] else None,
    )


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


def _check(bits: Sequence[int]) -> None:
    if len(bits) != len(BITS_21) or any(bit not in (0, 1) for bit in bits):
        raise ContractError(f"bits {list(bits)}; accepted: {len(BITS_21)} values of 0 or 1")
    for group in EXCLUSIVE_BITS:
        if sum(bits[bit] for bit in group) != 1:
            raise ContractError(f"bits {list(bits)}: exactly one of {', '.join(BITS_21.names[b] for b in group)} must be set")
