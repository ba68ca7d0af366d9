"""A caption's noun phrases, found piece by piece and remembered: captions differ, but their pieces ("and blue jeans", "with a hat") recur.

Cuts lie before words at which every rule of `phrases.py` starts afresh but for its `Carry`: verbs of wearing and holding, "with", full stops,
and, where nothing is negated and no list of adjectives goes on, commas and joiners. So a piece's phrases are a function of the piece and of
what is carried into it. A property test compares with the caption read in one go.
"""

import re
from functools import cache, lru_cache

from generation.annotation.phrases import START, Carry, phrases
from generation.annotation.runs import MODIFIERS, Phrase
from generation.annotation.symbols import any_of, symbols

_CLAUSE_STARTS = ("wear", "hold", "with", "stop")
_MEMORY = 1 << 17  # pieces; about 100 MB at most
Placed = tuple[tuple[Phrase, int], ...]  # phrases, and the place where each begins


@cache
def _clause() -> re.Pattern[str]:
    return re.compile(rf".[^{any_of(*_CLAUSE_STARTS)[1:-1]}]*")


@cache
def _part() -> re.Pattern[str]:
    return re.compile(rf".+?(?=(?<!{any_of(*MODIFIERS)}){any_of('comma', 'joiner')}|$)")


@cache
def _negator() -> re.Pattern[str]:
    return re.compile(any_of("neg"))


def phrases_by_piece(text: str) -> list[tuple[Phrase, int]]:
    """Noun phrases of a caption written in symbols, each with the place of its first token."""
    found: list[tuple[Phrase, int]] = []
    carry, offset = START, 0
    for clause in _clause().findall(text):
        placed, carry = _read_clause(carry, clause)
        found += [(phrase, offset + place) for phrase, place in placed] if offset else placed
        offset += len(clause)
    return found


@lru_cache(maxsize=_MEMORY)
def _read_clause(carry: Carry, clause: str) -> tuple[Placed, Carry]:
    parts = [clause] if carry.negated or _negator().search(clause) else _part().findall(clause)
    found: list[tuple[Phrase, int]] = []
    offset = 0
    for part in parts:
        read, carry = _read_part(carry, part)
        found += [(phrase, offset + phrase.start) for phrase in read]
        offset += len(part)
    return tuple(found), carry


@lru_cache(maxsize=_MEMORY)
def _read_part(carry: Carry, part: str) -> tuple[tuple[Phrase, ...], Carry]:
    meaning = symbols().meaning
    return phrases([meaning[symbol] for symbol in part], carry)
