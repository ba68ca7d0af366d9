"""A caption's noun phrases, found piece by piece and remembered: captions differ, their pieces ("with a hat") recur.

Cuts lie before words at which every rule of `phrases.py` starts afresh but for its `Carry`. So a piece's phrases are a function of the
piece and of what it asks of the Carry before it (a `Reading`), and a caption is a walk: from one `_Node` (a Carry) along a piece to the
next. Pieces are written in symbols, in which colours are alike. A property test compares with the caption read in one go.
"""

import re
from functools import cache

from generation.annotation.carry import START, Carry, Reading
from generation.annotation.lexicon import spelt
from generation.annotation.phrases import phrases
from generation.annotation.relations import ASKED_BEHIND_A_PHRASE, CLAUSE_PRONOUNS
from generation.annotation.remembered import MAX_REMEMBERED, Remembered
from generation.annotation.runs import MODIFIERS, NOUNS, Phrase
from generation.annotation.symbols import ANY_VERB, any_of, symbols

_CLAUSE_STARTS = ("wear", "hold", "with", "stop")


class _Node(dict[str, tuple[tuple[Phrase, ...], "_Node"]]):
    """Piece -> (its phrases, the node behind it)."""

    def __init__(self, carry: Carry) -> None:
        self.carry = carry

    def __missing__(self, piece: str) -> tuple[tuple[Phrase, ...], "_Node"]:
        _forget_if_full()
        reading = _reading(piece, self.carry)
        known = self[piece] = reading.phrases, _node(self.carry.put(reading.settled))
        return known


@cache
def _node(carry: Carry = START) -> _Node:
    """The one node of a carry."""
    return _Node(carry)


_remembered = 0


def _forget_if_full() -> None:
    global _remembered
    _remembered += 1
    if _remembered > MAX_REMEMBERED:
        _node.cache_clear()
        _remembered = 0


def read(text: str) -> list[tuple[int, tuple[Phrase, ...]]]:
    """The noun phrases of a caption by pieces, each with the place of its first token. text: its tokens in symbols."""
    node = _node()
    found: list[tuple[int, tuple[Phrase, ...]]] = []
    offset = 0
    negates = _negator().search(text) is not None
    for clause in _clause().findall(text) if negates else (text,):
        for piece in _pieces(clause, node.carry.negated) if negates else _piece().findall(clause):
            said, node = node[piece]
            if said:
                found.append((offset, said))
            offset += len(piece)
    return found


def _reading(piece: str, carry: Carry) -> Reading:
    known = _readings()[piece]
    for reading in known:
        if reading.holds_behind(carry):
            return reading
    meaning = symbols().meaning
    reading = phrases([meaning[symbol] for symbol in piece], carry)
    known.append(reading := reading._replace(phrases=_telling(reading.phrases)))
    return reading


def _telling(said: tuple[Phrase, ...]) -> tuple[Phrase, ...]:
    """Of phrases that say nothing one is as good as a row of them: it ends what came before."""
    return tuple(phrase for i, phrase in enumerate(said) if phrase.says or i == 0 or said[i - 1].says)


@cache
def _readings() -> Remembered[str, list[Reading]]:
    return Remembered(lambda piece: [])


def _pieces(clause: str, is_negated: bool) -> list[str]:
    """is_negated: a negation goes on that began before. Behind one there are fewer cuts, because its scope runs through lists."""
    if is_negated:
        return _piece_of_scope().findall(clause)
    pieces = _piece().findall(clause)
    if negator := _negator().search(clause):
        end = 0
        for i, piece in enumerate(pieces):
            if (end := end + len(piece)) > negator.start():
                return [*pieces[:i], *_piece_of_scope().findall("".join(pieces[i:]))]
    return pieces


@cache
def _negator() -> re.Pattern[str]:
    return re.compile(any_of("neg")[:-1] + any_of("joiner", only=spelt("negating"))[1:])


@cache
def _clause() -> re.Pattern[str]:
    return re.compile(rf".[^{any_of(*_CLAUSE_STARTS)[1:-1]}]*+")


@cache
def _piece() -> re.Pattern[str]:
    """A list of adjectives may run through a comma or joiner behind one, and go on with a colour that no noun stands before, or a hat or
    bag ("a hat blue on her head"); ", and" is not cut either."""
    modifier, between, colour = any_of(*MODIFIERS), any_of("comma", "joiner"), any_of("colour")
    in_list = f"{between}(?:(?<={modifier}{between})|(?<={any_of('comma')}{between}))"
    behind_noun = any_of("word", *NOUNS - {"sleeve", "hat", "bag"})
    return _runs_through(f"{in_list}|{colour}(?<!{behind_noun}{colour})", "comma", "joiner", "colour")


@cache
def _piece_of_scope() -> re.Pattern[str]:
    return _runs_through("(?!)")


def _runs_through(more: str, *of_kinds: str) -> re.Pattern[str]:
    """Pieces that also run through `more` of some kinds.

    All end before the start of a clause, "he" or "she", and a verb or preposition of no special meaning; but they run through adjectives
    ("running shoes") and prepositions that may say of the thing before that it is not worn, by themselves or with what follows ("in his
    hands").
    """
    verb, place, in_ = re.escape(ANY_VERB.symbol), any_of("place")[1:-1], any_of("in")
    he = any_of("pronoun", only=frozenset({"he", "she"}))
    carried = any_of("verb", "word", only=spelt("carried") | spelt("put"))[1:-1]
    behind_place = f"{in_}(?<=[{place}{carried}]{in_})|{he}(?<=[{place}]{he})"
    held = f"{any_of('body', 'surface')}|{any_of('pronoun', only=CLAUSE_PRONOUNS)}"
    held_in = f"{in_}(?={any_of('det', 'pronoun', 'modifier', 'number')}*(?:{held})|{any_of('det')}{{2}})"
    unasked = any_of("place", but=ASKED_BEHIND_A_PHRASE)[1:-1]
    ends = any_of(*_CLAUSE_STARTS, *of_kinds)[1:-1] + verb + unasked + in_[1:-1] + he[1:-1]
    on = f"[^{ends}]*+"
    return re.compile(f".{on}(?:(?:{more}|{verb}(?={any_of(*NOUNS)})|{behind_place}|{held_in}){on})*")
