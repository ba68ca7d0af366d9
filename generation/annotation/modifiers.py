"""Person nouns that name nobody ("boyfriend jeans", "her teens", "a child's bike"); ages that name somebody ("a 16 year old in a cap");
"short" for shorts ("a white shirt and black short")."""

import re
from dataclasses import replace
from functools import cache

from generation.annotation.ages import is_stated_decade
from generation.annotation.lexicon import Entry, lexicon, spelt
from generation.annotation.mentions import BEFORE_PERSON
from generation.annotation.neighbours import at, is_possessive, kind_at
from generation.annotation.runs import MODIFIERS, NOUNS
from generation.annotation.symbols import POSSESSIVE, any_of, in_symbols, symbols

_NOUN_AFTER_MODIFIER = frozenset({"garment", "hat", "bag", "accessory", "hairstyle", "headwear"})
_NOBODY = Entry("", "")
_IN_DESCRIPTION = MODIFIERS | {"joiner", "comma", "word"}
_SHORT_THINGS = frozenset({"hair", "hairstyle", "sleeve", "person"})
_THINGS = NOUNS | {"person"}
_BEFORE_SHORTS = frozenset({"det", "joiner", "comma", "wear", "in", "with"})


def settle_modifiers(tokens: list[Entry], text: str) -> tuple[list[Entry], str]:
    """Person nouns that name nobody become modifiers ("boyfriend jeans") or possessives ("a child's bike"), a lone "short" shorts.

    Takes and returns the tokens, and the same in symbols.
    """
    if _maybe_nobody().search(text) is None:  # nearly always; twice as fast as to go through none
        return tokens, text
    changes: dict[int, Entry | None] = {}
    for match in _maybe_nobody().finditer(text):
        i = match.start()
        token, following = tokens[i], tokens[i + 1] if i + 1 < len(tokens) else _NOBODY
        if token.kind == "years":
            if _names_person(tokens, i):
                changes[i] = _person_of_age(int((tokens[i - 1].value or 0) >= 18))
        elif token.text == "short":
            if _are_shorts(tokens, i):
                changes[i] = lexicon().single["shorts"]
        elif token.text == "teens" and is_stated_decade(tokens, i):
            changes[i] = _teens()
        elif following.text == "'s" and _owns(tokens, i):
            changes[i], changes[i + 1] = _possessive(token.text), None
        elif token.text in spelt("models") and following.kind == "det":
            changes[i] = lexicon().single["wearing"]  # "she models a jacket"
        elif following.kind in _NOUN_AFTER_MODIFIER:
            changes[i] = _as_modifier(token.text)
    settled = [token for token in (changes.get(i, token) for i, token in enumerate(tokens)) if token is not None]
    return settled, in_symbols(settled)


def _names_person(tokens: list[Entry], i: int) -> bool:
    """ "a 16 year old in a cap", without a noun behind."""
    after = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    return i > 1 and tokens[i - 1].kind == "number" and tokens[i - 2].kind == "det" and after != "person" and after not in BEFORE_PERSON


def _owns(tokens: list[Entry], i: int) -> bool:
    """ "a woman's purse", but not "the man's wearing a hat"."""
    return i + 2 >= len(tokens) or tokens[i + 2].kind not in ("wear", "hold", "verb", "det", "in", "neg")


def _are_shorts(tokens: list[Entry], i: int) -> bool:
    """ "a white shirt and black | short", "her | short is in white", "a t-shirt, | short in black"; but "hair, black | short", "her black |
    short and curly hair". Nothing that it may describe follows at once (`_maybe_nobody`)."""
    after = i + 1
    while kind_at(tokens, after) in _IN_DESCRIPTION:
        after += 1
    start = i
    while kind_at(tokens, start - 1) in ("colour", "modifier"):
        start -= 1
    before = next((token for token in reversed(tokens[:start]) if token.kind in _THINGS), _NOBODY)
    if kind_at(tokens, after) in _SHORT_THINGS or before.kind in ("hair", "hairstyle"):
        return False
    has_colour = any(token.kind == "colour" for token in tokens[start:i])
    if is_possessive(at(tokens, start - 1)):
        return has_colour or after == i + 1
    if has_colour:
        return kind_at(tokens, start - 1) in _BEFORE_SHORTS
    in_colour = [token.kind for token in tokens[i - 1 : i + 3]] == ["comma", "size", "in", "colour"]
    return in_colour and before.part == "upper" and kind_at(tokens, i + 3) not in NOUNS | MODIFIERS


@cache
def _possessive(noun: str) -> Entry:
    """item: whose. To noun phrases all are alike."""
    symbols()  # which gives all listed words their symbols, and this one
    return replace(POSSESSIVE, item=noun)


@cache
def _teens() -> Entry:
    return symbols().mark(Entry("decade", "in teens", value=0))


@cache
def _person_of_age(age: int) -> Entry:
    return symbols().mark(Entry("person", "year old", age=age))


@cache
def _as_modifier(text: str) -> Entry:
    return symbols().mark(Entry("modifier", text))


@cache
def _maybe_nobody() -> re.Pattern[str]:
    """All that may need a change, and little else."""
    certain = any_of("years") + "|" + any_of("person", only=spelt("decades") | spelt("models"))
    possessive, nouns, before = any_of("be", only=spelt("possessive")), any_of("person"), any_of(*_NOUN_AFTER_MODIFIER)
    short, described = any_of("size", only=spelt("shorts")), any_of("person", "word", "years", "place", *NOUNS, *MODIFIERS)
    any_ = any_of("person", "years")[:-1] + short[1:]  # first, because a search for one class is fast
    return re.compile(f"{any_}(?:(?<={certain})|(?<={nouns})(?={possessive}|{before})|(?<={short})(?!{described}))")
