"""What is said of the main subject -> the 27 labels (guideline sections 3 to 6)."""

from collections.abc import Iterable
from functools import lru_cache

from generation.annotation.facts import Facts
from generation.annotation.reading import Stretch
from generation.annotation.subject import Subject
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS

Labels = tuple[int, ...]  # 0, 1 or -1 in the order of PERSON_27; as small as can be, because very many are remembered
_SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}
_UNSTATED = {part: (MISSING,) * len(colours) for part, colours in _SPACES.items()}
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
    upper, lower = facts.stated_colours("upper"), facts.stated_colours("lower")
    return (
        *[MISSING if value is None else value for value in single],
        *(_colour_group("upper", upper) if upper else _UNSTATED["upper"]),
        *(_colour_group("lower", lower) if lower else _UNSTATED["lower"]),
    )


@lru_cache(maxsize=8192)
def _colour_group(part: str, stated: tuple[str, ...]) -> Labels:
    """A group is labelled as a whole (C1): 0 for stated colours, 1 for the others."""
    return tuple(0 if colour in stated else 1 for colour in _SPACES[part])
