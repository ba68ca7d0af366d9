"""Who the caption is about, and which of its words belong to that person (guideline R3 to R5, section 3).

The first person named is the main subject. Once another person has appeared, words belong to that one until the text returns to the first.
"""

from dataclasses import dataclass
from functools import cache

from generation.annotation.lexicon import Entry

_NOUN_AFTER_MODIFIER = frozenset({"garment", "hat", "bag", "accessory", "hairstyle", "headwear"})
_BEFORE_PERSON = frozenset({"modifier", "age", "size", "colour", "hairstyle", "hair", "number", "years", "word"})
_POSSESSIVE = Entry("pronoun", "'s")
_HANGING_PLACES = frozenset({"wall", "screen", "building", "billboard"})
_FIGURE_REACH = 3  # words between "poster" and the person on it: "of a young"


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
    """The main subject. owned[i]: token i is said of that person. gender, age: 0, 1 or None; plural subjects have no other attribute."""

    gender: int | None
    age: int | None
    plural: bool
    owned: list[bool]


def settle_modifiers(tokens: list[Entry]) -> list[Entry]:
    """Person nouns that name nobody become modifiers ("boyfriend jeans") or possessives ("a child's bike")."""
    settled: list[Entry] = []
    skip = False
    for i, token in enumerate(tokens):
        if skip:
            skip = False
        elif token.kind == "person" and _owns(tokens, i):
            settled.append(_POSSESSIVE)
            skip = True
        elif token.kind == "years" and _names_person(tokens, i):
            settled.append(_person_of_age(int((tokens[i - 1].value or 0) >= 18)))
        elif token.kind == "person" and i + 1 < len(tokens) and tokens[i + 1].kind in _NOUN_AFTER_MODIFIER:
            settled.append(_as_modifier(token.text))
        else:
            settled.append(token)
    return settled


def _names_person(tokens: list[Entry], i: int) -> bool:
    """ "a 16 year old in a cap", without a noun behind."""
    after = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    return i > 1 and tokens[i - 1].kind == "number" and tokens[i - 2].kind == "det" and after != "person" and after not in _BEFORE_PERSON


@cache
def _person_of_age(age: int) -> Entry:
    return Entry("person", "year old", age=age)


@cache
def _as_modifier(text: str) -> Entry:
    return Entry("modifier", text)


def _owns(tokens: list[Entry], i: int) -> bool:
    """ "a woman's purse", but not "the man's wearing a hat"."""
    if i + 1 >= len(tokens) or tokens[i + 1].text != "'s":
        return False
    return i + 2 >= len(tokens) or tokens[i + 2].kind not in ("wear", "hold", "verb", "det", "in", "neg")


def find_subject(tokens: list[Entry]) -> Subject:
    """The main subject of a caption; where nobody is named, everything is said of an unknown person."""
    mentions = _mentions(tokens)
    main = next((m for m in mentions if not m.is_figure), None)
    if main is None:
        return Subject(None if mentions else _first_gender(tokens), None, False, [not mentions] * len(tokens))
    owned, others_from = _ownership(tokens, mentions, main)
    alternative = _alternative(tokens, mentions, main)
    gender, age = main.gender, main.age
    if alternative is not None:
        gender = gender if gender == alternative.gender else None
        age = age if age == alternative.age else None
    elif (renamed := _renamed(tokens, mentions, main)) is not None:
        gender = renamed.gender if gender is None else gender
        age = renamed.age if age is None else age
    if alternative is None and gender is None and not main.plural:
        gender = _first_gender(tokens[:others_from])
    if main.plural:
        return Subject(gender, None, True, [False] * len(tokens))
    years = _stated_years(tokens, owned)
    return Subject(gender, age if years is None else years, False, owned)


def _first_gender(tokens: list[Entry]) -> int | None:
    return next((t.gender for t in tokens if t.kind == "pronoun" and t.gender is not None), None)


def _mentions(tokens: list[Entry]) -> list[Mention]:
    """Persons in the order of the text; neighbouring nouns ("female police officer", "teen girl") are one mention."""
    found: list[Mention] = []
    position = 0
    while position < len(tokens):
        if tokens[position].kind == "person":
            mention = _mention(tokens, position)
            found.append(mention)
            position = mention.end
        elif tokens[position].kind == "lifeless":
            found.append(Mention(position, position, position + 1, None, None, False, tokens[position].text, "", is_figure=True))
            position += 1
        elif tokens[position].kind == "pronoun" and tokens[position].text in ("he", "she", "they") and not found:
            pronoun = tokens[position]
            found.append(Mention(position, position, position + 1, pronoun.gender, None, pronoun.text == "they", pronoun.text, "the"))
            position += 1
        else:
            position += 1
    return found


def _mention(tokens: list[Entry], first: int) -> Mention:
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
    adjectives = [t.value for t in tokens[start:first] if t.kind == "age"]
    ages = adjectives or [n.age for n in nouns if n.age is not None]
    plural = any(n.plural for n in nouns)
    plural_gender = _gender_of_group(tokens, end) if nouns[-1].plural and nouns[-1].gender is None else None
    gender = next((n.gender for n in nouns if n.gender is not None), plural_gender)
    is_figure = any(_shows_figure(tokens, i) for i in range(max(0, start - _FIGURE_REACH), start)) or _is_example(tokens, start)
    is_figure = is_figure or _hangs_on_wall(tokens, start, end)
    text = " ".join(t.text for t in tokens[start:end])
    begin = start - 1 if determiner else start
    return Mention(begin, first, end, gender, ages[0] if ages else None, plural, text, determiner, is_figure)


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
    if index < len(mentions) and mentions[index].start > 0 and tokens[mentions[index].start - 1].kind == "be" and not mentions[index].plural:
        return mentions[index]
    return None


def _ownership(tokens: list[Entry], mentions: list[Mention], main: Mention) -> tuple[list[bool], int]:
    """Which tokens are said of the main subject, and where the first other person appears."""
    owned, others_from = [True] * len(tokens), len(tokens)
    if len(mentions) == 1:
        return owned, others_from
    others: list[Mention] = []
    starts = {m.start: m for m in mentions}
    is_main = not mentions[0].is_figure
    for i in range(len(tokens)):
        mention = starts.get(i)
        if mention is not None and mention is not main:
            is_main = _is_main_again(tokens, mentions, mention, main, others)
            if not is_main:
                others += [] if mention.is_figure else [mention]
                others_from = min(others_from, i)
        elif mention is main or (not is_main and main.start < i and _returns(tokens, i, main, others)):
            is_main = True
        owned[i] = is_main
    return owned, others_from


def _is_main_again(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention, others: list[Mention]) -> bool:
    if mention.is_figure or mention.start < main.start:
        return False
    before = tokens[mention.start - 1] if mention.start > 0 else None
    if before is not None and before.kind == "be":  # "a person that is a waiter"
        return not others
    if before is not None and before.item == "or" and mention.start == main.end + 1:
        return True
    if mention.determiner in ("the", "this", "that"):
        same_noun = tokens[mention.first].text == tokens[main.first].text
        unknown_so_far = not others and main.gender is None and not main.plural
        return (same_noun and all(tokens[o.first].text != tokens[main.first].text for o in others)) or unknown_so_far
    return mention.determiner != "another" and _is_loop(tokens, mentions, mention, main)


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
    return after_while or all(o.gender is not None and o.gender != token.gender for o in others)


def _stated_years(tokens: list[Entry], owned: list[bool]) -> int | None:
    """0 or 1 from "12 year old", "aged 30", "in his thirties"; None where no age in years is stated of the subject."""
    for i, token in enumerate(tokens):
        if not owned[i]:
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
