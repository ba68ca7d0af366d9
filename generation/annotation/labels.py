"""What is said of the main subject -> the 27 labels (guideline sections 3 to 6)."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache, partial

from generation.annotation.facts import Colours, Facts
from generation.annotation.lexicon import Entry
from generation.annotation.remembered import Remembered
from generation.annotation.runs import Phrase
from generation.annotation.subject import Subject
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS


@dataclass(frozen=True, slots=True)
class Part:
    """Labels of attributes that stand side by side in PERSON_27. Parts take few values: each is made once, and captions share them."""

    named: dict[str, int]  # name -> 0, 1 or -1
    json: str  # the same as JSON, without braces


Labels = tuple[Part, Part, Part]  # single attributes, colours of the upper body, of the lower body
_SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}
_SINGLE = ("gender", "age", "hair_length", "hat", "backpack", "handbag", "bag", "sleeve_length", "lower_length", "lower_type")
assert PERSON_27.names == (*_SINGLE, *(f"{part}_{colour}" for part, colours in _SPACES.items() for colour in colours))


def labels_by(subject: Subject, tokens: list[Entry], said: Iterable[tuple[int, tuple[Phrase, ...]]]) -> Labels:
    """The labels of a caption's subject. said: its noun phrases."""
    if subject.plural:
        return _labels((subject.gender, *(None,) * (len(_SINGLE) - 1)), (), ())
    facts, owned = Facts(), subject.owned
    for offset, phrases in said:
        for phrase in phrases:
            if owned is None or owned[offset + phrase.start]:
                facts.add(phrase, _colours(tokens, offset, phrase.colours) if phrase.colours else ())
            else:
                facts.add_of_another(phrase)
    single = (subject.gender, subject.age, facts.hair_length(), *facts.carried(), facts.sleeve_length(), *facts.lower_body())
    return _labels(single, facts.stated_colours("upper"), facts.stated_colours("lower"))


def _colours(tokens: list[Entry], offset: int, places: tuple[int, ...]) -> Colours:
    if len(places) == 1:  # nearly always; three times as fast
        return (tokens[offset + places[0]].item,)
    return tuple([tokens[offset + place].item for place in places])


def _labels(single: tuple[int | None, ...], upper: Colours, lower: Colours) -> Labels:
    of_single, of_upper, of_lower = _parts()
    return of_single[single], of_upper[upper], of_lower[lower]


@cache
def _parts() -> tuple[Remembered[tuple[int | None, ...], Part], Remembered[Colours, Part], Remembered[Colours, Part]]:
    return Remembered(_single), Remembered(partial(_group, "upper")), Remembered(partial(_group, "lower"))


def _single(values: tuple[int | None, ...]) -> Part:
    return _part(_SINGLE, (MISSING if value is None else value for value in values))


def _group(part: str, stated: Colours) -> Part:
    """A group is labelled as a whole (C1): 0 for stated colours, 1 for the others."""
    colours = _SPACES[part]
    labels = (0 if colour in stated else 1 for colour in colours) if stated else (MISSING,) * len(colours)
    return _part((f"{part}_{colour}" for colour in colours), labels)


def _part(names: Iterable[str], labels: Iterable[int]) -> Part:
    named = dict(zip(names, labels, strict=True))
    return Part(named, ", ".join([f'"{name}": {label}' for name, label in named.items()]))
