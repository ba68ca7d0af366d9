"""One character for what a token means to the noun phrase rules, so that a caption can be cut by regular expressions and looked up.

Of most words these rules ask what they are (a garment of the upper body, long sleeved) and not how they are spelt: such words of one meaning
share a character. Who a caption is about does depend on the spelling; `subject.py` reads the tokens themselves.
"""

import re
from dataclasses import astuple, replace
from functools import cache

from generation.annotation.lexicon import Entry, lexicon

_FIRST = 0xE000  # Unicode's private use area has room for 6,400 meanings
_SPELLING_COUNTS = frozenset({"hat", "bag", "headwear", "place", "pronoun", "body", "in", "layer"})

class _Symbols(dict[Entry, str]):
    """Token -> character; `meaning[character]` is a token that stands for all of them."""

    def __init__(self) -> None:
        self.meaning: dict[str, Entry] = {}
        self._special = frozenset().union(*lexicon().spelt.values())
        self._of_fields: dict[tuple[object, ...], str] = {}

    def __missing__(self, token: Entry) -> str:
        keeps_text = token.kind in _SPELLING_COUNTS or token.text in self._special
        meaning = token if keeps_text else replace(token, text="")
        if token.kind in ("person", "number", "age", "years", "decade"):
            meaning = Entry(token.kind, meaning.text)
        fields = astuple(meaning)
        symbol = self._of_fields.get(fields)
        if symbol is None:
            symbol = self._of_fields[fields] = chr(_FIRST + len(self._of_fields))
            self.meaning[symbol] = meaning
        self[token] = symbol
        return symbol


@cache
def symbols() -> _Symbols:
    """The table, with all listed words and one word of each kind that needs no list."""
    table = _Symbols()
    for entry in lexicon().entries:
        table[entry]
    for kind in ("word", "verb", "number", "person"):
        table[Entry(kind, "")]
    return table


@cache
def any_of(*kinds: str) -> str:
    """A regular expression's character class of all tokens of these kinds."""
    return "[" + "".join(re.escape(symbol) for symbol, entry in symbols().meaning.items() if entry.kind in kinds) + "]"
