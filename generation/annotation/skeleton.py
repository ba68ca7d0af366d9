"""Captions that differ in colours and in words of one meaning only are analysed once.

Of most words the rules ask what they are (a garment of the upper body, long sleeved), and of their spelling only whether two are the same;
of colours only whether two are the same. So a caption is turned into a skeleton: such words become their meaning and the number of their
spelling, in the order of first appearance. What the skeleton states is remembered; the colours are put back in afterwards.
Exact: a property test compares with the analysis of the caption itself.
"""

from collections.abc import Sequence
from dataclasses import astuple, replace
from functools import cache, lru_cache

from generation.annotation.labels import LONG_SHORTS, Stated, stated_by
from generation.annotation.lexicon import Entry
from generation.annotation.relations import CARRIED_WORDS
from generation.annotation.subject import find_subject

# Words that the rules ask for by their spelling, wherever they stand: they keep it. Prepositions and pronouns are words of other kinds.
SPECIAL_WORDS = CARRIED_WORDS | {"as", "like", "of", "aged", "age", "while", "wall", "screen", "building", "billboard", "and", "it"}
SPECIAL_WORDS |= {LONG_SHORTS}
_SPELLING_IS_FREE = frozenset({"word", "verb", "modifier", "person", "garment", "accessory", "colour"})
Symbol = Entry | tuple[Entry, int] | tuple[int, int]


def stated_by_tokens(tokens: Sequence[Entry]) -> Stated:
    """As `stated_by` says of these tokens."""
    symbols, colours = _symbols(tokens)
    stated = _of_skeleton(symbols)
    if not colours:
        return stated
    upper, lower = (None if s is None else tuple(colours[int(c)] for c in s) for s in (stated.upper, stated.lower))
    return Stated(stated.labels, upper, lower)


def _symbols(tokens: Sequence[Entry]) -> tuple[tuple[Symbol, ...], list[str]]:
    """The skeleton, and the colours by number. A colour is (number of its spelling, number of its colour)."""
    symbols: list[Symbol] = []
    texts: dict[str, int] = {}
    items: dict[str, int] = {}
    for token in tokens:
        if token.kind not in _SPELLING_IS_FREE or token.text in SPECIAL_WORDS:
            symbols.append(token)
            continue
        number = texts.setdefault(token.text, len(texts))
        symbols.append((number, items.setdefault(token.item, len(items))) if token.kind == "colour" else (_meaning(token), number))
    return tuple(symbols), list(items)


@lru_cache(maxsize=65536)
def _of_skeleton(symbols: tuple[Symbol, ...]) -> Stated:
    tokens = [_entry(symbol) for symbol in symbols]
    return stated_by(tokens, find_subject(tokens))


def _entry(symbol: Symbol) -> Entry:
    if isinstance(symbol, Entry):
        return symbol
    meaning, number = symbol
    if isinstance(meaning, int):
        return Entry("colour", f"#{meaning}", item=str(number))
    return replace(meaning, text=f"#{number}")


@lru_cache(maxsize=65536)
def _meaning(entry: Entry) -> Entry:
    """One entry for all that differ in spelling only."""
    return _first_of(astuple(replace(entry, text="")))


@cache
def _first_of(fields: tuple[object, ...]) -> Entry:
    return Entry(*fields)  # type: ignore[arg-type]
