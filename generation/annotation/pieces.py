"""A caption's noun phrases, found piece by piece and remembered: captions differ, their pieces ("with a hat") recur.

Cuts lie before words at which every rule of `phrases.py` starts afresh but for its `Carry`. So a piece's phrases are a function of the
piece and of what is carried into it, and a caption is a walk: from one `_Node` (a Carry) along a piece to the next. A clause is not cut
behind a negation, because its scope depends on words far behind. A property test compares with the caption read in one go.
"""

import re
from functools import cache

from generation.annotation.phrases import START, Carry, phrases
from generation.annotation.relations import ASKED_BEHIND_A_PHRASE
from generation.annotation.runs import MODIFIERS, NOUNS, Phrase
from generation.annotation.symbols import ANY_VERB, any_of, symbols

_CLAUSE_STARTS = ("wear", "hold", "with", "stop")
_SETS_RELATION = frozenset({"wear", "hold", "with", "stop", "verb"})  # whatever it was before


Found = tuple[Phrase, int]  # and the place of its first token


class Node(dict[str, tuple[tuple[Phrase, ...], "Node"]]):
    """Piece -> (its phrases, the node behind it)."""

    def __init__(self, carry: Carry) -> None:
        self.carry = carry

    def __missing__(self, piece: str) -> tuple[tuple[Phrase, ...], "Node"]:
        meaning = symbols().meaning
        if self.carry.relation not in ("worn", "apart") and meaning[piece[0]].kind in _SETS_RELATION:
            self[piece] = node_of(self.carry._replace(relation="worn"))[piece]
            return self[piece]
        found, carry = phrases([meaning[symbol] for symbol in piece], self.carry)
        # Of phrases that say nothing one is as good as a row of them: it ends what came before.
        found = tuple(phrase for before, phrase in zip((None, *found), found, strict=False) if phrase.says or before is None or before.says)
        self[piece] = found, node_of(carry)
        return self[piece]


@cache
def node_of(carry: Carry = START) -> Node:
    """The one node of a carry."""
    return Node(carry)


@cache
def _piece() -> re.Pattern[str]:
    """Up to: the start of a clause; a verb of no special meaning that is no adjective ("running shoes"); a preposition that never says
    whether the thing before it is worn; a comma or joiner that no list of adjectives runs through; a colour behind a noun."""
    clause, verb = any_of(*_CLAUSE_STARTS), re.escape(ANY_VERB.symbol)
    place = any_of("place", but=ASKED_BEHIND_A_PHRASE)
    modifier = any_of(*MODIFIERS)
    between = rf"(?<!{modifier})(?<!{modifier}{any_of('comma')}){any_of('comma', 'joiner')}"
    between += rf"|(?<={any_of('word', *NOUNS - {'sleeve'})}){any_of('colour')}"
    return re.compile(rf".+?(?={clause}|{verb}(?!{any_of(*NOUNS)})|{place}|{between}|$)")


@cache
def _clause() -> re.Pattern[str]:
    return re.compile(rf".[^{any_of(*_CLAUSE_STARTS)[1:-1]}]*")


@cache
def _negator() -> re.Pattern[str]:
    return re.compile(any_of("neg"))


def phrases_by_piece(text: str, node: Node) -> tuple[list[Found], Node]:
    """Noun phrases of a text written in symbols, which begins at `node`, and the node behind it."""
    found: list[Found] = []
    offset = 0
    for clause in _clause().findall(text) if _negator().search(text) else (text,):
        for piece in (clause,) if node.carry.negated else _pieces(clause):
            said, node = node[piece]
            found += [(phrase, offset + phrase.start) for phrase in said]
            offset += len(piece)
    return found, node


def _pieces(clause: str) -> list[str]:
    """Whole from the piece with a negator on."""
    pieces = _piece().findall(clause)
    if negator := _negator().search(clause):
        end = 0
        for i, piece in enumerate(pieces):
            if (end := end + len(piece)) > negator.start():
                return [*pieces[:i], "".join(pieces[i:])]
    return pieces
