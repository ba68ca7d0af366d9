"""What is said of the main subject -> the 27 labels (guideline sections 3 to 6)."""

from collections.abc import Iterable
from functools import cache, partial

from generation.annotation.facts import Facts
from generation.annotation.reading import Stretch
from generation.annotation.remembered import Remembered
from generation.annotation.subject import Subject
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS

Labels = tuple[int, ...]  # 0, 1 or -1 in the order of PERSON_27; as small as can be, because very many are remembered
_SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}
_SINGLE = ("gender", "age", "hair_length", "hat", "backpack", "handbag", "bag", "sleeve_length", "lower_length", "lower_type")
assert PERSON_27.names == (*_SINGLE, *(f"{part}_{colour}" for part, colours in _SPACES.items() for colour in colours))


def labels_by(subject: Subject, stretches: Iterable[Stretch]) -> Labels:
    """The labels of a caption's subject."""
    if subject.plural:
        return (MISSING if subject.gender is None else subject.gender, *(MISSING,) * (len(PERSON_27) - 1))
    facts, owned = Facts(), subject.owned
    offset = 0
    for words, said, _, _ in stretches:
        for phrase, place, colours in said:
            if owned is None or owned[offset + place]:
                facts.add(phrase, colours)
            else:
                facts.add_of_another(phrase)
        if owned is not None:
            offset += len(words.tokens)
    single = (subject.gender, subject.age, facts.hair_length(), *facts.carried(), facts.sleeve_length(), *facts.lower_body())
    groups = _groups()
    upper, lower = groups["upper"][facts.stated_colours("upper")], groups["lower"][facts.stated_colours("lower")]
    return (*[MISSING if value is None else value for value in single], *upper, *lower)


@cache
def _groups() -> dict[str, Remembered[tuple[str, ...], Labels]]:
    """Part of the body -> stated colours -> the labels of its colours."""
    return {part: Remembered(partial(_group, space)) for part, space in _SPACES.items()}


def _group(space: tuple[str, ...], stated: tuple[str, ...]) -> Labels:
    """A group is labelled as a whole (C1): 0 for stated colours, 1 for the others."""
    return tuple(0 if colour in stated else 1 for colour in space) if stated else (MISSING,) * len(space)
