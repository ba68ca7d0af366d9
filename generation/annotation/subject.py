"""Who the caption is about: the gender and age of the main subject, which is the first person named (guideline R3, section 3)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple

from generation.annotation.ages import stated_years
from generation.annotation.lexicon import Entry
from generation.annotation.mentions import Mention, has_pictures, mentions_at, places_of_persons
from generation.annotation.ownership import ownership, renames
from generation.annotation.symbols import any_of


@dataclass(slots=True)
class Subject:
    """The main subject. owned[i]: token i is said of that person; None: all are.

    gender, age: 0, 1 or None; plural subjects have no other attribute.
    """

    gender: int | None
    age: int | None
    plural: bool
    owned: list[bool] | None


class Persons(NamedTuple):
    """What a stretch of a caption says of persons, as far as that can be said without its neighbours."""

    named: Mention | None  # by a noun
    has_subject_pronoun: bool  # "he", which names a person where no noun has
    gender: int | None  # of the first pronoun that has one
    years: int | None  # as `stated_years`
    is_plain: bool  # False: several persons, figures, pictures


@cache
def _anything() -> re.Pattern[str]:
    return re.compile(any_of("person", "lifeless", "pronoun", "no_hat", "figure", "picture", "decade", "years", "number"))


def persons_in(tokens: list[Entry], text: str) -> Persons | None:
    """Persons of a stretch; None: nothing. text: the tokens in symbols."""
    if _anything().search(text) is None:
        return None
    places, with_pictures = places_of_persons(text), has_pictures(text)
    mentions = mentions_at(places, tokens, with_pictures)
    is_plain = len(mentions) < 2 and not with_pictures and not (mentions and mentions[0].is_figure)
    named = next((mention for mention in mentions if tokens[mention.first].kind != "pronoun"), None)
    gender, years = _first_gender(tokens, places, len(tokens)), stated_years(tokens, text, None)
    return Persons(named, bool(mentions) and named is None, gender, years, is_plain)


def subject_of(stretches: Sequence[tuple[list[Entry], str, Persons | None]]) -> Subject:
    """The main subject of a caption. stretches: tokens, the same in symbols, persons in them."""
    subject = _lone_subject([persons for _, _, persons in stretches if persons is not None])
    if subject is not None:
        return subject
    return find_subject(list(chain.from_iterable([tokens for tokens, _, _ in stretches])), "".join([text for _, text, _ in stretches]))


def _lone_subject(stretches: list[Persons]) -> Subject | None:
    """The same as `find_subject` where one person is named, by a noun and before any pronoun; None where that is not so."""
    main: Mention | None = None
    gender = age = None
    for named, has_subject_pronoun, pronoun_gender, years, is_plain in stretches:
        if not is_plain or (main is None and has_subject_pronoun) or (main is not None and named is not None):
            return None
        main = main or named
        gender = pronoun_gender if gender is None else gender
        age = years if age is None else age
    if main is None:
        return None
    if main.plural:
        return Subject(main.gender, None, True, None)
    return Subject(gender if main.gender is None else main.gender, main.age if age is None else age, False, None)


def find_subject(tokens: list[Entry], text: str) -> Subject:
    """The main subject of a caption; where nobody is named, everything is said of an unknown person. text: the tokens in symbols."""
    places = places_of_persons(text)
    mentions = mentions_at(places, tokens, has_pictures(text))
    main = next((m for m in mentions if not m.is_figure), None)
    if main is None:
        return Subject(
            None if mentions else _first_gender(tokens, places, len(tokens)), None, False, [False] * len(tokens) if mentions else None
        )
    owned, others_from, gender, age = None, len(tokens), main.gender, main.age
    alternative = None
    if len(mentions) > 1:
        owned, others_from = ownership(tokens, text, mentions, main)
        alternative, renamed = _alternative(tokens, mentions, main), _renamed(tokens, mentions, main)
        if alternative is not None:
            gender = gender if gender == alternative.gender else None
            age = age if age == alternative.age else None
        elif renamed is not None:
            gender = renamed.gender if gender is None else gender
            age = renamed.age if age is None else age
    if main.plural:
        return Subject(gender, None, True, None)
    if alternative is None and gender is None:
        gender = _first_gender(tokens, places, others_from)
    years = stated_years(tokens, text, owned)
    return Subject(gender, age if years is None else years, False, owned)


def _alternative(tokens: list[Entry], mentions: list[Mention], main: Mention) -> Mention | None:
    """ "a man or woman": the other possibility for the main subject."""
    index = mentions.index(main)
    if index + 1 < len(mentions) and tokens[main.end].item == "or" and mentions[index + 1].start == main.end + 1:
        return mentions[index + 1]
    return None


def _renamed(tokens: list[Entry], mentions: list[Mention], main: Mention) -> Mention | None:
    """ "the pedestrian is a man": the other name of the main subject."""
    index = mentions.index(main) + 1
    if index < len(mentions) and renames(tokens, mentions[index]) and not mentions[index].plural:
        return mentions[index]
    return None


def _first_gender(tokens: list[Entry], places: list[int], end: int) -> int | None:
    """Gender of the first pronoun that has one."""
    pronouns = (tokens[i] for i in places if i < end and tokens[i].kind in ("pronoun", "no_hat"))  # "nothing on her head"
    return next((pronoun.gender for pronoun in pronouns if pronoun.gender is not None), None)
