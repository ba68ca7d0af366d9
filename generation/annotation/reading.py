"""A caption as stretches between frequent words. They are remembered: stretches recur though captions differ.

A caption is a walk as in `pieces.py`, along stretches of text: from a `_Place` (a node) along a stretch to the next. A cut lies before
words that begin something new, and so stays: "with" begins a clause; "and", a comma or "he" do unless the words before leave it open, for
then two stretches are one: "black | and white striped", or anything behind a negation.
"""

import re
from functools import cache
from typing import NamedTuple

from generation.annotation.lexicon import Entry
from generation.annotation.modifiers import settle_modifiers
from generation.annotation.phrases import START, Carry
from generation.annotation.pieces import Node, node_of, phrases_by_piece
from generation.annotation.remembered import MAX_REMEMBERED, Remembered
from generation.annotation.runs import MODIFIERS, Phrase
from generation.annotation.subject import Persons, persons_in
from generation.annotation.symbols import symbols_of
from generation.annotation.tokens import tokenise

# Frequent words that stand inside no listed phrase (a test holds that), and before which no person noun is a modifier.
CLAUSE_STARTS = ("with", "wearing", "carrying", "has", "wears", "dressed", "holding")
CONTINUING = ("and", "he", "she")
_MAY_CONTINUE = "\1"  # a stretch that begins with it
_CUTS = (
    (".", "\0."),
    (",", f"\0{_MAY_CONTINUE},"),
    *((f" {word} ", f"\0 {word} ") for word in CLAUSE_STARTS),
    *((f" {word} ", f"\0{_MAY_CONTINUE} {word} ") for word in CONTINUING),
)
_POSSESSIVE_END = re.compile(r"'s *\0")


class Said(NamedTuple):
    """A noun phrase with the names of its colours. place: of its first token."""

    phrase: Phrase
    place: int
    colours: tuple[str, ...]


class Words(NamedTuple):
    """A text as tokens with settled modifiers, one symbol for each, and the persons among them."""

    tokens: list[Entry]
    symbols: str
    persons: Persons | None


class Stretch(NamedTuple):
    """Some words of a caption and what they say there; `after`: where the next stretch begins."""

    words: Words
    said: list[Said]
    after: "_Place"
    is_open: bool  # what continues it belongs to it


def read(caption: str) -> list[Stretch]:
    """The caption, stretch by stretch."""
    text = caption.lower().replace("\0", " ").replace(_MAY_CONTINUE, " ")
    for word, cut in _CUTS:
        text = text.replace(word, cut)
    if "'" in text or "’" in text or "`" in text:
        text = _POSSESSIVE_END.sub("'s ", text.replace("’", "'").replace("`", "'"))  # is it "the man's wearing" or "the man's shirt"?
    found: list[Stretch] = []
    place, before = _place(START), ""
    for stretch_text in text.split("\0"):
        if before:
            if stretch_text.startswith(_MAY_CONTINUE):
                stretch_text = before + stretch_text
            else:
                found.append(place[before])
                place, before = found[-1].after, ""
        stretch = place[stretch_text]
        if stretch.is_open:
            before = stretch_text
        else:
            found.append(stretch)
            place, before = stretch.after, ""
    return [*found, place[before]] if before else found


def words_of(text: str) -> Words:
    """The same of a text in one go, without its noun phrases."""
    tokens = tokenise(text)
    symbols = "".join([token.symbol for token in tokens])
    settled = settle_modifiers(tokens, symbols)
    if settled is not tokens:
        symbols = "".join([token.symbol for token in settled])
    return Words(settled, symbols, persons_in(settled, symbols))


class _Place(dict[str, Stretch]):
    """Text that comes at a node -> what it says there."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._reduced: dict[str, _Place] = {}  # kind of the next token -> the place that differs in nothing that counts then

    def __missing__(self, text: str) -> Stretch:
        _forget_if_full()
        words = _words()[text.replace(_MAY_CONTINUE, "")]
        carry = self._node.carry
        if words.tokens and not carry.begins and (place := self._up_to(words.tokens[0].kind)) is not self:
            stretch = self[text] = place[text]
            return stretch
        found, after = phrases_by_piece(words.symbols, self._node)
        said = [Said(phrase, place, phrase.colour_names(words.tokens, place)) for phrase, place in found]
        is_open = carry.negated or _leaves_open(words.symbols) or not _negators().isdisjoint(words.symbols)
        stretch = self[text] = Stretch(words, said, _place(after.carry), is_open)
        return stretch

    def _up_to(self, kind: str) -> "_Place":
        if kind not in self._reduced:
            self._reduced[kind] = _place(self._node.carry.up_to(kind))
        return self._reduced[kind]


@cache
def _place(carry: Carry) -> _Place:
    return _Place(node_of(carry))


@cache
def _words() -> Remembered[str, Words]:
    return Remembered(words_of)


def _leaves_open(text: str) -> bool:
    """ "a black | and white shirt", "blue, white, | and yellow"."""
    return (text[-2:-1] if text[-1:] in _commas() else text[-1:]) in _modifiers()


@cache
def _modifiers() -> frozenset[str]:
    return symbols_of(*MODIFIERS)


@cache
def _commas() -> frozenset[str]:
    return symbols_of("comma")


@cache
def _negators() -> frozenset[str]:
    return symbols_of("neg")


_remembered = 0


def _forget_if_full() -> None:
    global _remembered
    _remembered += 1
    if _remembered > MAX_REMEMBERED:
        _place.cache_clear()
        node_of.cache_clear()  # they hold the pieces
        _remembered = 0
