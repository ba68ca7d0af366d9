"""One character for what a token means to the noun phrase rules, so that a caption can be cut by regular expressions and looked up.

Of most words these rules ask what they are (a garment of the upper body, long sleeved) and not how they are spelt: such words of one
meaning share a character. Who a caption is about does depend on the spelling; `mentions.py` and `ownership.py` read the tokens themselves.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from generation.annotation.lexicon import Entry, fields_of, lexicon, unlisted

_FIRST = 0xE000  # Unicode's private use area has room for 6,400 meanings
_KIND_ALONE = frozenset({"person", "number", "age", "years", "decade", "colour"})  # nothing but what they are matters here
_SPELLING_COUNTS = frozenset({"hat", "bag", "headwear", "place", "pronoun", "body", "in", "layer"})

ANY_VERB = Entry("verb", "")
POSSESSIVE = Entry("pronoun", "'s")


class _Symbols:
    """`meaning[character]` is an entry that stands for all which have this character."""

    def __init__(self) -> None:
        self.meaning: dict[str, Entry] = {}
        self._special = frozenset().union(*lexicon().spelt.values())
        self._of_fields: dict[tuple[object, ...], str] = {}
        unknown = (unlisted(text) for text in sorted(self._special - lexicon().single.keys()))
        as_modifiers = (Entry("modifier", text) for text in sorted(lexicon().spelt["decades"]))
        others = (ANY_VERB, POSSESSIVE, Entry("word", ""), Entry("number", ""), Entry("person", ""))
        for entry in (*lexicon().entries, *unknown, *as_modifiers, *others):
            self.mark(entry)  # all that there are: tables are made of them

    def mark(self, entry: Entry) -> Entry:
        """Give an entry its symbol."""
        keeps_text = entry.kind in _SPELLING_COUNTS or entry.text in self._special
        text = entry.text if keeps_text else ""
        meaning = Entry(entry.kind, text) if entry.kind in _KIND_ALONE else replace(entry, text=text)
        fields = fields_of(meaning)
        symbol = self._of_fields.get(fields)
        if symbol is None:
            symbol = self._of_fields[fields] = meaning.symbol = chr(_FIRST + len(self._of_fields))
            self.meaning[symbol] = meaning
        entry.symbol = symbol
        return entry


@cache
def symbols() -> _Symbols:
    """The table; made when the first caption is read."""
    return _Symbols()


def in_symbols(tokens: Iterable[Entry]) -> str:
    return "".join([token.symbol for token in tokens])


def any_of(*kinds: str, but: frozenset[str] = frozenset(), only: frozenset[str] | None = None) -> str:
    """A regular expression's character class for all tokens of these kinds, without these spellings or with only those."""
    of_kinds = ((symbol, entry.text) for symbol, entry in symbols().meaning.items() if entry.kind in kinds)
    found = (re.escape(symbol) for symbol, text in of_kinds if text not in but and (only is None or text in only))
    return "[" + "".join(found) + "]"
