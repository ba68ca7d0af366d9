"""What is said of the main subject -> the 27 labels (guideline sections 3 to 6)."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import NamedTuple

from generation.annotation.facts import Facts
from generation.annotation.lexicon import Entry
from generation.annotation.runs import Phrase
from generation.annotation.subject import Subject
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS

_SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}


class Stated(NamedTuple):
    """What a caption states: 0 or 1, None where it does not. upper, lower: colours of the garments, None where none is stated."""

    gender: int | None = None
    age: int | None = None
    hair_length: int | None = None
    hat: int | None = None
    backpack: int | None = None
    handbag: int | None = None
    bag: int | None = None
    sleeve_length: int | None = None
    lower_length: int | None = None
    lower_type: int | None = None
    upper: frozenset[str] | None = None
    lower: frozenset[str] | None = None


_SINGLE = Stated._fields[:-2]
_NOT_STATED = dict.fromkeys(PERSON_27.names, MISSING)


def stated_by(tokens: Sequence[Entry], subject: Subject, pieces: Iterable[tuple[Sequence[Phrase], int]]) -> Stated:
    """Everything that the caption states of its subject. pieces: its noun phrases, whose places count from the given one."""
    if subject.plural:
        return Stated(subject.gender)
    facts, owned = Facts(tokens), subject.owned
    for phrases, offset in pieces:
        for phrase in phrases:
            place = offset + phrase.start
            if owned is None or owned[place]:
                facts.add(phrase, place)
            else:
                facts.add_of_another(phrase)
    return Stated(
        subject.gender,
        subject.age,
        facts.hair_length(),
        *facts.carried(),
        facts.sleeve_length(),
        *facts.lower_body(),
        facts.stated_colours("upper"),
        facts.stated_colours("lower"),
    )


def labels_of(stated: Stated) -> dict[str, int]:
    """All 27 names -> 0, 1 or -1. Colours are labelled as a group (C1): 0 for stated colours, 1 for the others."""
    labels = _NOT_STATED.copy()
    for name, value in zip(_SINGLE, stated, strict=False):
        if value is not None:
            labels[name] = value
    if stated.upper is not None:
        labels.update(_colour_group("upper", stated.upper))
    if stated.lower is not None:
        labels.update(_colour_group("lower", stated.lower))
    return labels


@cache
def _colour_group(part: str, stated: frozenset[str]) -> dict[str, int]:
    return {f"{part}_{colour}": 0 if colour in stated else 1 for colour in _SPACES[part]}
