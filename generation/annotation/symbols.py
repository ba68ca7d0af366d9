"""One character for what a token means to the noun phrase rules, so that a caption can be cut by regular expressions and looked up.

Of most words these rules ask what they are (a garment of the upper body, long sleeved) and not how they are spelt: such words of one
meaning share a character. Who a caption is about does depend on the spelling; `subject.py` reads the tokens themselves.
"""

import re
from dataclasses import astuple, replace
from functools import cache

from generation.annotation.lexicon import Entry, lexicon

_FIRST = 0xE000  # Unicode's private use area has room for 6,400 meanings
_KIND_ALONE = frozenset({"person", "number", "age", "years", "decade", "colour"})  # nothing but what they are matters here
_SPELLING_COUNTS = frozenset({"hat", "bag", "headwear", "place", "pronoun", "body", "in", "layer"})

ANY_VERB = Entry("verb", "")


class _Symbols(dict[Entry, str]):
    """Token -> character; `meaning[character]` is a token that stands for all of them."""

    def __init__(self) -> None:
        self.meaning: dict[str, Entry] = {}
        self._special = frozenset().union(*lexicon().spelt.values())
        self._of_fields: dict[tuple[object, ...], str] = {}

    def __missing__(self, token: Entry) -> str:
        keeps_text = token.kind in _SPELLING_COUNTS or token.text in self._special
        meaning = token if keeps_text else replace(token, text="")
        if token.kind in _KIND_ALONE:
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
    for entry in (ANY_VERB, Entry("word", ""), Entry("number", ""), Entry("person", "")):
        table[entry]
    return table


def any_of(*kinds: str, but: frozenset[str] = frozenset()) -> str:
    """A regular expression's character class of all tokens of these kinds, without these spellings."""
    found = (symbol for symbol, entry in symbols().meaning.items() if entry.kind in kinds and entry.text not in but)
    return "[" + "".join(map(re.escape, found)) + "]"
