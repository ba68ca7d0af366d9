"""What is said of the main subject -> the 27 labels (guideline sections 3 to 6)."""

import json
from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Any

from generation.annotation.facts import BAG_KINDS, Colours, Facts, Things
from generation.annotation.lexicon import Entry
from generation.annotation.remembered import Remembered
from generation.annotation.runs import Phrase
from generation.annotation.subject import Subject
from generation.annotation.worn import Looks, lengths_of
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS

# JSON without braces, part by part in the order of PERSON_27. Each part takes few values, which captions share; as very many labels are
# remembered, it matters that the garbage collector does not walk through text.
Labels = tuple[str, str, str, str, str]
_SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}
_PERSON = ("gender", "age", "hair_length")
_CARRIED = ("hat", *BAG_KINDS)
_LENGTHS = ("sleeve_length", "lower_length", "lower_type")
assert PERSON_27.names == (*_PERSON, *_CARRIED, *_LENGTHS, *(f"{part}_{colour}" for part, colours in _SPACES.items() for colour in colours))


def named(labels: Labels) -> dict[str, int]:
    """All names -> 0, 1 or -1."""
    person, carried, lengths, upper, lower = labels
    named = _coloured()[upper, lower].copy()  # which is faster than to put all names into a new dictionary
    named.update(_looks()[person, carried, lengths])
    return named


@cache
def _coloured() -> Remembered[tuple[str, str], dict[str, int]]:
    """Labels of the colours -> all names in their order, those of other attributes with no label."""
    others = dict.fromkeys(PERSON_27.names, MISSING)
    of = _named()
    return Remembered(lambda parts: {**others, **of[parts[0]], **of[parts[1]]})


@cache
def _looks() -> Remembered[tuple[str, str, str], dict[str, int]]:
    """Labels of the person, what is carried and the lengths -> their names."""
    of = _named()
    return Remembered(lambda parts: {**of[parts[0]], **of[parts[1]], **of[parts[2]]})


@cache
def _named() -> Remembered[str, dict[str, int]]:
    return Remembered(lambda part: json.loads(f"{{{part}}}"))


def labels_by(subject: Subject, tokens: list[Entry], said: Iterable[tuple[int, tuple[Phrase, ...]]]) -> Labels:
    """The labels of a caption's subject. said: its noun phrases."""
    facts, owned = Facts(), subject.owned
    for offset, phrases in () if subject.plural else said:
        for phrase in phrases:
            if owned is None or owned[offset + phrase.start]:
                facts.add(phrase, _colours(tokens, offset, phrase.colours) if phrase.colours else ())
            else:
                facts.add_of_another(phrase)
    of_person, of_carried, of_lengths, of_upper, of_lower = _parts()
    upper, lower = facts.colours()
    return (
        of_person[subject.gender, subject.age, facts.hair],
        of_carried[facts.has, facts.lacks],
        of_lengths[facts.looks(), facts.sleeves],
        of_upper[upper],
        of_lower[lower],
    )


def _colours(tokens: list[Entry], offset: int, places: tuple[int, ...]) -> Colours:
    if len(places) == 1:  # nearly always; three times as fast
        return (tokens[offset + places[0]].item,)
    return tuple([tokens[offset + place].item for place in places])


@cache
def _parts() -> tuple[Remembered[Any, str], ...]:
    """What is stated -> labels, part by part."""
    groups = [Remembered(partial(_group, part)) for part in _SPACES]
    return Remembered(_person), Remembered(_carried), Remembered(_lengths), *groups


def _person(stated: tuple[int | None, int | None, tuple[int, ...]]) -> str:
    """stated: gender, age, lengths of the hair."""
    gender, age, hair = stated
    return _json(_PERSON, (gender, age, hair[0] if len(set(hair)) == 1 else None))


def _carried(things: tuple[Things, Things]) -> str:
    """things: what the subject has, what it lacks."""
    has, lacks = things
    stated: dict[str, int | None] = {kind: 1 for kind, _ in lacks}
    for kind, _ in has:
        stated[kind] = 0  # another word of the class wins over an absence (R9)
    for thing in lacks:
        if thing in has:
            stated[thing[0]] = None  # the same word both ways says nothing (R7)
    return _json(_CARRIED, [*map(stated.get, _CARRIED)])


def _lengths(stated: tuple[Looks, tuple[int, ...]]) -> str:
    """stated: what is worn, lengths of sleeves."""
    return _json(_LENGTHS, lengths_of(*stated))


def _group(part: str, stated: Colours) -> str:
    """A group is labelled as a whole (C1): 0 for stated colours, 1 for the others."""
    names = [f"{part}_{colour}" for colour in _SPACES[part]]
    return _json(names, [0 if colour in stated else 1 for colour in _SPACES[part]] if stated else [None] * len(names))


def _json(names: Sequence[str], values: Sequence[int | None]) -> str:
    return json.dumps({name: MISSING if value is None else value for name, value in zip(names, values, strict=True)})[1:-1]
