"""What is said of the main subject -> the 27 labels (guideline sections 3 to 6)."""

from collections.abc import Iterable
from functools import cache, partial

from generation.annotation.facts import Colours, Facts
from generation.annotation.lexicon import Entry
from generation.annotation.remembered import Remembered
from generation.annotation.runs import Phrase
from generation.annotation.subject import Subject
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS

Labels = tuple[int, ...]  # 0, 1 or -1 in the order of PERSON_27; as small as can be, because very many are remembered
_SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}
_SINGLE = ("gender", "age", "hair_length", "hat", "backpack", "handbag", "bag", "sleeve_length", "lower_length", "lower_type")
assert PERSON_27.names == (*_SINGLE, *(f"{part}_{colour}" for part, colours in _SPACES.items() for colour in colours))


def labels_by(subject: Subject, tokens: list[Entry], said: Iterable[tuple[int, tuple[Phrase, ...]]]) -> Labels:
    """The labels of a caption's subject. said: its noun phrases."""
    if subject.plural:
        return (MISSING if subject.gender is None else subject.gender, *(MISSING,) * (len(PERSON_27) - 1))
    facts, owned = Facts(), subject.owned
    for offset, phrases in said:
        for phrase in phrases:
            if owned is None or owned[offset + phrase.start]:
                facts.add(phrase, _colours(tokens, offset, phrase.colours) if phrase.colours else ())
            else:
                facts.add_of_another(phrase)
    single = (subject.gender, subject.age, facts.hair_length(), *facts.carried(), facts.sleeve_length(), *facts.lower_body())
    groups = _groups()
    return _in_labels()[single] + groups["upper"][facts.stated_colours("upper")] + groups["lower"][facts.stated_colours("lower")]


def _colours(tokens: list[Entry], offset: int, places: tuple[int, ...]) -> Colours:
    if len(places) == 1:  # nearly always; three times as fast
        return (tokens[offset + places[0]].item,)
    return tuple([tokens[offset + place].item for place in places])


@cache
def _in_labels() -> Remembered[tuple[int | None, ...], Labels]:
    return Remembered(lambda values: tuple(MISSING if value is None else value for value in values))


@cache
def _groups() -> dict[str, Remembered[tuple[str, ...], Labels]]:
    """Part of the body -> stated colours -> the labels of its colours."""
    return {part: Remembered(partial(_group, space)) for part, space in _SPACES.items()}


def _group(space: tuple[str, ...], stated: tuple[str, ...]) -> Labels:
    """A group is labelled as a whole (C1): 0 for stated colours, 1 for the others."""
    return tuple(0 if colour in stated else 1 for colour in space) if stated else (MISSING,) * len(space)
