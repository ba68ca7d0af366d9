"""Who the caption is about: the gender and age of the main subject, which is the first person named (guideline R3, section 3)."""

import re
from dataclasses import dataclass
from functools import cache

from generation.annotation.ages import stated_years
from generation.annotation.lexicon import Entry
from generation.annotation.mentions import BEFORE_PERSON, Mention, lone_noun, mentions_in
from generation.annotation.ownership import is_apposed, names_pronoun, ownership, renames
from generation.annotation.singular import in_number
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


def subject_of(tokens: list[Entry], text: str) -> Subject:
    """The main subject of a caption; where nobody is named, everything is said of an unknown person. text: the tokens in symbols."""
    lone = lone_noun().fullmatch(text)
    if lone is None or tokens[lone.start(1)].plural:
        return by_mentions(tokens, text)
    return _lone_subject(tokens, text, lone.start(1))


def _lone_subject(tokens: list[Entry], text: str, place: int) -> Subject:
    """The short way for most captions: what `by_mentions` makes of them. place: of the one noun."""
    noun = tokens[place]
    age = noun.age
    while place > 0 and (before := tokens[place := place - 1]).kind in BEFORE_PERSON:
        if before.kind == "age":
            age = before.value  # the first adjective counts
    return _only_subject(tokens, text, noun.gender, age, plural=False)


def by_mentions(tokens: list[Entry], text: str) -> Subject:
    """The same as `subject_of`, of any caption."""
    tokens = in_number(tokens)
    mentions = mentions_in(tokens, text)
    if not mentions:
        return Subject(_first_gender(tokens, text, len(tokens)), None, False, None)
    main = next((mention for mention in mentions if not mention.is_figure), None)
    if main is None:
        return Subject(None, None, False, [False] * len(tokens))
    if len(mentions) > 1:
        return _one_of_several(tokens, text, mentions, main)
    return _only_subject(tokens, text, main.gender, main.age, main.plural)


def _only_subject(tokens: list[Entry], text: str, gender: int | None, age: int | None, plural: bool) -> Subject:
    """gender, age, plural: as the noun says."""
    if plural:
        return Subject(gender, None, True, None)
    years = stated_years(tokens, text, None)
    gender = _first_gender(tokens, text, len(tokens)) if gender is None else gender
    return Subject(gender, age if years is None else years, False, None)


def _one_of_several(tokens: list[Entry], text: str, mentions: list[Mention], main: Mention) -> Subject:
    owned, others_from = ownership(tokens, text, mentions, main)
    gender, age = main.gender, main.age
    renamed = _renamed(tokens, mentions, main)
    if renamed is not None:
        gender = renamed.gender if gender is None else gender
        age = renamed.age if age is None else age
    alternative = _alternative(tokens, mentions, main if renamed is None else renamed)
    if alternative is not None:
        gender = gender if gender == alternative.gender else None
        age = age if age == alternative.age else None
    if main.plural:
        return Subject(gender, None, True, None)
    if alternative is None and gender is None:
        gender = _first_gender(tokens, text, others_from)
    years = stated_years(tokens, text, owned)
    return Subject(gender, age if years is None else years, False, owned)


def _alternative(tokens: list[Entry], mentions: list[Mention], mention: Mention) -> Mention | None:
    """ "a man or woman": the other possibility."""
    index = mentions.index(mention)
    if index + 1 < len(mentions) and tokens[mention.end].item == "or" and mentions[index + 1].start == mention.end + 1:
        return mentions[index + 1]
    return None


def _renamed(tokens: list[Entry], mentions: list[Mention], main: Mention) -> Mention | None:
    """ "the pedestrian is a man", "the pedestrian, a man, ...", "she ... the woman": the other name of the main subject."""
    first = mentions.index(main) + 1
    if first < len(mentions) and renames(tokens, mentions[first]) and not mentions[first].plural:
        return mentions[first]
    for index, mention in enumerate(mentions[first:], first):
        if is_apposed(tokens, mentions, mention, main) or names_pronoun(tokens, mention, main, mentions[first:index]):
            return mention
    return None


def _first_gender(tokens: list[Entry], text: str, end: int) -> int | None:
    """Gender of the first pronoun that has one."""
    for match in _pronouns().finditer(text, 0, end):
        gender = tokens[match.start()].gender
        if gender is not None:
            return gender
    return None


@cache
def _pronouns() -> re.Pattern[str]:
    return re.compile(any_of("pronoun", "no_thing", "neg"))  # "nothing on her head", "left his hat"
