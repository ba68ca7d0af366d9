"""A caption as tokens and as symbols. Its stretches between frequent words are remembered: they recur though captions differ."""

import re
from functools import cache

from generation.annotation.lexicon import Entry, lexicon
from generation.annotation.remembered import Remembered
from generation.annotation.subject import settle_modifiers
from generation.annotation.symbols import symbols
from generation.annotation.tokens import tokenise

Read = tuple[list[Entry], str]
_PLAIN = re.compile(r"[a-z ,.-]*")  # no apostrophes, which tie words together, and no digits
# Frequent words that stand inside no listed phrase, and before which no person noun is a modifier: a caption may be cut there.
_CUT_WORDS = ("and", "or", "with", "without", "wearing", "carrying", "carries", "holding", "has", "he", "she", "while", "walking", "standing", "looking")


def read(caption: str) -> Read:
    """Tokens with settled modifiers, and one symbol for each."""
    text = caption.lower()
    if not _PLAIN.fullmatch(text):
        return _read(text)
    remembered = _stretches()
    tokens: list[Entry] = []
    written: list[str] = []
    for stretch in _cut().split(text):
        more, symbols_of_more = remembered[stretch]
        tokens += more
        written.append(symbols_of_more)
    return tokens, "".join(written)


def _read(text: str) -> Read:
    symbol = symbols()
    tokens = tokenise(text)
    written = "".join([symbol[token] for token in tokens])
    settled = settle_modifiers(tokens, written)
    return settled, written if settled is tokens else "".join([symbol[token] for token in settled])


@cache
def _stretches() -> Remembered[Read]:
    return Remembered(_read)


@cache
def _cut() -> re.Pattern[str]:
    inside = {word for options in lexicon().longer.values() for listed in options.values() for phrase, _ in listed for word in phrase[1:]}
    words = "|".join(word for word in _CUT_WORDS if word not in inside)
    return re.compile(rf" (?=(?:{words}) )|(?=[,.])")
