"""Texts of the challenge back to what they were written from: the strict inverse of `challenge_sentences`.

`mentioned` there reads any wording and never refuses; this parser knows the template grammar alone and gives back the very text.
"""

import re
from collections.abc import Sequence

from pipeline.contracts.challenge import VehicleTag, parse_tag
from pipeline.contracts.challenge_sentences import (
    AGES,
    BAGS,
    HEADS,
    PATTERNS,
    SKIRTS,
    SLEEVE_LENGTHS,
    SLEEVES,
    VIEWS,
    WORN,
    Sentence,
    pattern_forms,
)
from pipeline.contracts.errors import ContractError

_WORDS = ({"gender": "male", "noun": "man", "possessive": "his"}, {"gender": "female", "noun": "woman", "possessive": "her"})
_ITEMS = {form: (bit, number) for bit, forms in WORN.items() for number, form in enumerate(forms)}
_SLEEVES = {form.format(length=name): (bit, n) for bit, name in SLEEVE_LENGTHS.items() for n, form in enumerate(SLEEVES)}
_PATTERNS = {form: (bit, number) for bit in PATTERNS for number, form in enumerate(pattern_forms(bit))}
_AGES = {form: (bit, number) for bit, forms in AGES.items() for number, form in enumerate(forms)}
_BAGS = {form: (bit, number) for bit, forms in BAGS.items() for number, form in enumerate(forms)}
_VEHICLE = re.compile(r"(?:This is an?|An?) (?P<tag>.+)")


def _either(options: Sequence[str]) -> str:
    return "|".join(re.escape(option) for option in sorted(options, key=len, reverse=True))


def _grammar(female: bool) -> re.Pattern[str]:
    words = _WORDS[female]
    heads, views = [h.format(**words) for h in HEADS], [v.format(**words) for v in VIEWS.values()]
    items = _either([*_ITEMS, "boots"])
    first = (
        rf"(?P<head>{_either(heads)}) (?P<age>{_either(list(_AGES))}), (?P<view>{_either(views)})(?: and (?P<bag>{_either(list(_BAGS))}))?"
    )
    worn = rf"wearn?ing (?P<worn>(?:{items})(?:, ?(?:{items}))*)"
    clothes = rf"in a (?P<sleeve>{_either(list(_SLEEVES))})(?: (?P<pattern>{_either(list(_PATTERNS))}))?(?: (?P<skirt>{_either(SKIRTS)}))?"
    return re.compile(rf"{first}\. {'She' if female else 'He'} is (?:{worn}|{clothes})\.")


_GRAMMARS = (_grammar(False), _grammar(True))


def parse_pedestrian(text: str) -> Sentence:
    """`str(parse_pedestrian(text)) == text` for every text of the grammar (the spelling "wearing" is read, and written "wearning").

    Raises ContractError for a text outside the grammar.
    """
    for female, grammar in enumerate(_GRAMMARS):
        if match := grammar.fullmatch(text):
            return _sentence(bool(female), match)
    raise ContractError(f"{text[:120]!r} is not of the template grammar: head, age, view, at most one bag; then what is worn, or clothes")


def parse_vehicle(text: str) -> VehicleTag:
    """ "This is a white Audi Sedan." -> its tag. Raises ContractError for another wording or an unknown word."""
    match = _VEHICLE.fullmatch(text)
    if not match:
        raise ContractError(f"{text[:120]!r}; accepted: 'This is a ...' or 'A ...' with a colour, a brand, a type")
    return parse_tag(match["tag"])


def _sentence(female: bool, match: re.Match[str]) -> Sentence:
    words = _WORDS[female]
    worn = re.split(", ?", match["worn"]) if match["worn"] else []
    return Sentence(
        female=female,
        head=[head.format(**words) for head in HEADS].index(match["head"]),
        age=_AGES[match["age"]],
        view=next(bit for bit, view in VIEWS.items() if view.format(**words) == match["view"]),
        bag=_BAGS.get(match["bag"]),
        worn=tuple(_ITEMS[item] for item in worn if item != "boots"),
        boots="boots" in worn,
        sleeve=_SLEEVES.get(match["sleeve"]),
        pattern=_PATTERNS.get(match["pattern"]),
        skirt=SKIRTS.index(match["skirt"]) if match["skirt"] else None,
    )
