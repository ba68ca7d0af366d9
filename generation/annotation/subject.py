"""Who the caption is about, and which of its words belong to that person (guideline R3 to R5, section 3).

The first person named is the main subject. Once another person has appeared, words belong to that one until the text returns to the first.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple

from generation.annotation.lexicon import Entry
from generation.annotation.symbols import any_of, symbols

_NOUN_AFTER_MODIFIER = frozenset({"garment", "hat", "bag", "accessory", "hairstyle", "headwear"})
_BEFORE_PERSON = frozenset({"modifier", "age", "size", "colour", "hairstyle", "hair", "number", "years", "word"})
_HANGING_PLACES = frozenset({"wall", "screen", "building", "billboard"})
_FIGURE_REACH = 3  # words between "poster" and the person on it: "of a young"
_NOBODY = Entry("", "")


@dataclass(slots=True)
class Mention:
    """One naming of a person: tokens[first:end] with articles and adjectives before it from `start`."""

    start: int
    first: int
    end: int
    gender: int | None
    age: int | None
    plural: bool
    text: str
    determiner: str
    is_figure: bool = False


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
    years: int | None  # as `_stated_years`
    is_plain: bool  # False: several persons, figures, pictures


@dataclass(frozen=True)
class _Finders:
    """Places of the tokens that matter here, found in a caption written in symbols."""

    persons: re.Pattern[str]  # and what stands for them
    returns: re.Pattern[str]
    pictures: re.Pattern[str]
    years: re.Pattern[str]
    nouns: re.Pattern[str]
    any: re.Pattern[str]


@cache
def _finders() -> _Finders:
    return _Finders(
        re.compile(any_of("person", "lifeless", "pronoun", "no_hat")),
        re.compile(any_of("person", "lifeless", "pronoun", "both", "all")),
        re.compile(any_of("figure", "lifeless", "picture")),
        re.compile(any_of("decade", "years", "number")),
        re.compile(any_of("person", "years")),
        re.compile(any_of("person", "lifeless", "pronoun", "no_hat", "figure", "picture", "decade", "years", "number")),
    )


def settle_modifiers(tokens: list[Entry], text: str) -> list[Entry]:
    """Person nouns that name nobody become modifiers ("boyfriend jeans") or possessives ("a child's bike"). text: the tokens in symbols."""
    changes: dict[int, Entry | None] = {}
    count = len(tokens)
    for match in _finders().nouns.finditer(text):
        i = match.start()
        token, following = tokens[i], tokens[i + 1] if i + 1 < count else _NOBODY
        if token.kind == "years":
            if _names_person(tokens, i):
                changes[i] = _person_of_age(int((tokens[i - 1].value or 0) >= 18))
        elif following.text == "'s" and _owns(tokens, i):
            changes[i], changes[i + 1] = _possessive(), None
        elif following.kind in _NOUN_AFTER_MODIFIER:
            changes[i] = _as_modifier(token.text)
    if not changes:
        return tokens
    settled = (changes.get(i, token) for i, token in enumerate(tokens))
    return [token for token in settled if token is not None]


def _names_person(tokens: list[Entry], i: int) -> bool:
    """ "a 16 year old in a cap", without a noun behind."""
    after = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    return i > 1 and tokens[i - 1].kind == "number" and tokens[i - 2].kind == "det" and after != "person" and after not in _BEFORE_PERSON


@cache
def _possessive() -> Entry:
    return symbols().mark(Entry("pronoun", "'s"))


@cache
def _person_of_age(age: int) -> Entry:
    return symbols().mark(Entry("person", "year old", age=age))


@cache
def _as_modifier(text: str) -> Entry:
    return symbols().mark(Entry("modifier", text))


def _owns(tokens: list[Entry], i: int) -> bool:
    """ "a woman's purse", but not "the man's wearing a hat"."""
    return i + 2 >= len(tokens) or tokens[i + 2].kind not in ("wear", "hold", "verb", "det", "in", "neg")


def persons_in(tokens: list[Entry], text: str) -> Persons | None:
    """Persons of a stretch; None: nothing. text: the tokens in symbols."""
    finders = _finders()
    if finders.any.search(text) is None:
        return None
    places = [match.start() for match in finders.persons.finditer(text)]
    years = _stated_years(tokens, None) if finders.years.search(text) is not None else None
    has_pictures = finders.pictures.search(text) is not None
    mentions = _mentions(tokens, places, has_pictures)
    is_plain = len(mentions) < 2 and not has_pictures and not (mentions and mentions[0].is_figure)
    named = next((mention for mention in mentions if tokens[mention.first].kind != "pronoun"), None)
    return Persons(named, bool(mentions) and named is None, _first_gender(tokens, places, len(tokens)), years, is_plain)


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
    finders = _finders()
    places = [match.start() for match in finders.persons.finditer(text)]
    mentions = _mentions(tokens, places, finders.pictures.search(text) is not None)
    main = next((m for m in mentions if not m.is_figure), None)
    if main is None:
        return Subject(
            None if mentions else _first_gender(tokens, places, len(tokens)), None, False, [False] * len(tokens) if mentions else None
        )
    owned, others_from, gender, age = None, len(tokens), main.gender, main.age
    alternative = None
    if len(mentions) > 1:
        owned, others_from = _ownership(tokens, mentions, main, [match.start() for match in finders.returns.finditer(text)])
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
    if finders.years.search(text) is not None:
        years = _stated_years(tokens, owned)
        age = age if years is None else years
    return Subject(gender, age, False, owned)


def _first_gender(tokens: list[Entry], places: list[int], end: int) -> int | None:
    """Gender of the first pronoun that has one."""
    pronouns = (tokens[i] for i in places if i < end and tokens[i].kind in ("pronoun", "no_hat"))  # "nothing on her head"
    return next((pronoun.gender for pronoun in pronouns if pronoun.gender is not None), None)


def _mentions(tokens: list[Entry], places: list[int], has_pictures: bool) -> list[Mention]:
    """Persons in the order of the text; neighbouring nouns ("female police officer", "teen girl") are one mention."""
    found: list[Mention] = []
    end = 0
    for place in places:
        if place < end:
            continue
        token = tokens[place]
        if token.kind == "person":
            mention = _mention(tokens, place, has_pictures)
            found.append(mention)
            end = mention.end
        elif token.kind == "lifeless":
            found.append(Mention(place, place, place + 1, None, None, False, token.text, "", is_figure=True))
        elif token.text in ("he", "she", "they") and not found:
            found.append(Mention(place, place, place + 1, token.gender, None, token.text == "they", token.text, "the"))
    return found


def _mention(tokens: list[Entry], first: int, has_pictures: bool) -> Mention:
    nouns, end = [tokens[first]], first + 1
    while end < len(tokens):
        gap = 1 if tokens[end].kind in ("word", "modifier", "age") else 0  # "woman tennis player"
        if end + gap < len(tokens) and tokens[end + gap].kind == "person":
            nouns.append(tokens[end + gap])
            end += gap + 1
        else:
            break
    start = first
    while start > 0 and tokens[start - 1].kind in _BEFORE_PERSON:
        start -= 1
    determiner = tokens[start - 1].text if start > 0 and tokens[start - 1].kind in ("det", "pronoun", "number") else ""
    ages = [t.value for t in tokens[start:first] if t.kind == "age"] or [n.age for n in nouns if n.age is not None]
    genders = [n.gender for n in nouns if n.gender is not None]
    gender = genders[0] if genders else _gender_of_group(tokens, end) if nouns[-1].plural else None
    is_figure = _is_example(tokens, start)
    if has_pictures and not is_figure:
        shown = any(_shows_figure(tokens, i) for i in range(max(0, start - _FIGURE_REACH), start))
        is_figure = shown or _hangs_on_wall(tokens, start, end)
    text = " ".join([t.text for t in tokens[start:end]])
    plural = any(n.plural for n in nouns)
    return Mention(start - 1 if determiner else start, first, end, gender, ages[0] if ages else None, plural, text, determiner, is_figure)


def _gender_of_group(tokens: list[Entry], end: int) -> int | None:
    """ "a group of men": the plural that follows says the gender."""
    if end + 1 < len(tokens) and tokens[end].text == "of" and tokens[end + 1].kind == "person":
        return tokens[end + 1].gender
    return None


def _shows_figure(tokens: list[Entry], i: int) -> bool:
    if tokens[i].kind == "lifeless":
        return tokens[i + 1].text == "of"  # "a statue of a soldier"
    return tokens[i].kind == "figure" and i + 1 < len(tokens) and tokens[i + 1].kind in ("place", "with", "verb", "in")


def _is_example(tokens: list[Entry], start: int) -> bool:
    """ "dressed as a clown", "looks like a model": no further person."""
    before = start - 1 if start > 0 and tokens[start - 1].kind == "det" else start
    return before > 0 and tokens[before - 1].text in ("as", "like")


def _hangs_on_wall(tokens: list[Entry], start: int, end: int) -> bool:
    """ "a picture of a woman on a wall": a picture that hangs shows nobody who is there."""
    if not any(t.kind == "picture" for t in tokens[max(0, start - 2 * _FIGURE_REACH) : start]):
        return False
    before = [t.text for t in tokens[max(0, start - 2 * _FIGURE_REACH) : start]]
    if any(one == "on" and other in _HANGING_PLACES for one, other in zip(before, before[2:], strict=False)):
        return True  # "a picture on the wall of a woman"
    texts = [t.text for t in tokens[end : end + 3]]
    return len(texts) == 3 and texts[0] == "on" and texts[2] in _HANGING_PLACES


def _alternative(tokens: list[Entry], mentions: list[Mention], main: Mention) -> Mention | None:
    """ "a man or woman": the other possibility for the main subject."""
    index = mentions.index(main)
    if index + 1 < len(mentions) and tokens[main.end].item == "or" and mentions[index + 1].start == main.end + 1:
        return mentions[index + 1]
    return None


def _renamed(tokens: list[Entry], mentions: list[Mention], main: Mention) -> Mention | None:
    """ "the pedestrian is a man": the other name of the main subject."""
    index = mentions.index(main) + 1
    if (
        index < len(mentions)
        and mentions[index].start > 0
        and tokens[mentions[index].start - 1].kind == "be"
        and not mentions[index].plural
    ):
        return mentions[index]
    return None


def _ownership(tokens: list[Entry], mentions: list[Mention], main: Mention, places: list[int]) -> tuple[list[bool], int]:
    """Which tokens are said of the main subject, and where the first other person appears. places: where that may change."""
    others_from = len(tokens)
    others: list[Mention] = []
    starts = {m.start: m for m in mentions}
    is_main = not mentions[0].is_figure
    owned: list[bool] = []
    for i in sorted({*places, *starts}):
        was_main = is_main
        mention = starts.get(i)
        if mention is not None and mention is not main:
            is_main = _is_main_again(tokens, mentions, mention, main, others)
            if not is_main:
                others += [] if mention.is_figure else [mention]
                others_from = min(others_from, i)
        elif mention is main or (not is_main and main.start < i and _returns(tokens, i, main, others)):
            is_main = True
        if is_main is not was_main:
            owned += [was_main] * (i - len(owned))
    return owned + [is_main] * (len(tokens) - len(owned)), others_from


def _is_main_again(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention, others: list[Mention]) -> bool:
    if mention.is_figure or mention.start < main.start:
        return False
    before = tokens[mention.start - 1] if mention.start > 0 else None
    if before is not None and before.kind == "be":  # "a person that is a waiter"
        return not others
    if before is not None and before.item == "or" and mention.start == main.end + 1:
        return True
    if mention.determiner in ("the", "this", "that"):
        if _side(tokens, mention) not in ("", _side(tokens, main)):
            return False
        same_noun = tokens[mention.first].text == tokens[main.first].text
        unknown_so_far = not others and main.gender is None and not main.plural
        return (same_noun and all(tokens[o.first].text != tokens[main.first].text for o in others)) or unknown_so_far
    return mention.determiner != "another" and _is_loop(tokens, mentions, mention, main)


def _side(tokens: list[Entry], mention: Mention) -> str:
    """ "left" of "the man on the left"."""
    texts = [token.text for token in tokens[mention.end : mention.end + 3]]
    return texts[2] if texts[:2] == ["on", "the"] and texts[2:] in (["left"], ["right"]) else ""


def _is_loop(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention) -> bool:
    """The same words again, perhaps cut at the end of the caption."""
    if mention.text != main.text:
        return False
    first, again = _description(tokens, mentions, main), _description(tokens, mentions, mention)
    if first == again:
        return True
    is_last = mentions[-1] is mention
    return is_last and bool(again) and first[: len(again)] == again


def _description(tokens: list[Entry], mentions: list[Mention], mention: Mention) -> list[str]:
    index = mentions.index(mention)
    end = mentions[index + 1].start if index + 1 < len(mentions) else len(tokens)
    texts = [t.text for t in tokens[mention.end : end]]
    while texts and texts[-1] in ("and", ",", ".", ";", "&"):
        texts.pop()
    return texts


def _returns(tokens: list[Entry], i: int, main: Mention, others: list[Mention]) -> bool:
    """A pronoun that fits only the main subject, or a word for all of them."""
    token = tokens[i]
    if token.kind == "both" or (token.kind == "pronoun" and token.text == "they"):
        return True
    following = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    if token.kind == "all" and following in ("wear", "in", "hold", "be"):
        return True
    if token.kind != "pronoun" or token.gender is None or token.gender != main.gender:
        return False
    after_while = i > 0 and tokens[i - 1].text == "while"
    return after_while or all(o.plural or (o.gender is not None and o.gender != token.gender) for o in others)


def _stated_years(tokens: list[Entry], owned: list[bool] | None) -> int | None:
    """0 or 1 from "12 year old", "aged 30", "in his thirties"; None where no age in years is stated of the subject."""
    for i, token in enumerate(tokens):
        if owned is not None and not owned[i]:
            continue
        before = tokens[i - 1] if i > 0 else None
        if token.kind == "decade" and before is not None and before.kind in ("pronoun", "det"):
            return token.value
        if token.kind == "years" and before is not None and before.kind == "number" and before.value is not None:
            return int(before.value >= 18)
        if token.kind == "number" and token.value is not None and _tells_age(tokens, i):
            return int(token.value >= 18)
    return None


def _tells_age(tokens: list[Entry], i: int) -> bool:
    """ "aged 17", "aged about 17", "a girl of twenty"; but "a family of four people"."""
    before = [t for t in tokens[max(0, i - 3) : i] if t.text not in ("about", "around")]
    if not before:
        return False
    if before[-1].text in ("aged", "age"):
        return True
    after = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    return len(before) > 1 and before[-1].text == "of" and before[-2].kind == "person" and after not in (*_BEFORE_PERSON, "person")
