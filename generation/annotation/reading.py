"""A caption as tokens and as symbols. Its stretches between frequent words are remembered: they recur though captions differ."""

from functools import cache

from generation.annotation.lexicon import Entry
from generation.annotation.remembered import Remembered
from generation.annotation.subject import settle_modifiers
from generation.annotation.symbols import symbols
from generation.annotation.tokens import tokenise

Read = tuple[list[Entry], str]
# Frequent words that stand inside no listed phrase (a test holds that), and before which no person noun is a modifier: cuts lie there.
CUT_WORDS = ("and", "with", "wearing", "carrying", "has", "he", "she", "standing")
_CUTS = tuple((f" {word} ", f"\0 {word} ") for word in CUT_WORDS)


def read(caption: str) -> Read:
    """Tokens with settled modifiers, and one symbol for each."""
    text = caption.lower()
    if "'" in text or "’" in text or "`" in text or "\0" in text:  # an apostrophe ties words together: "the man's wearing"
        return _read(text)
    text = text.replace(",", "\0,").replace(".", "\0.")
    for word, cut in _CUTS:
        text = text.replace(word, cut)
    remembered = _stretches()
    tokens: list[Entry] = []
    written = ""
    for stretch in text.split("\0"):
        more, more_written = remembered[stretch]
        tokens += more
        written += more_written
    return tokens, written


def _read(text: str) -> Read:
    symbol = symbols()
    tokens = tokenise(text)
    written = "".join([symbol[token] for token in tokens])
    settled = settle_modifiers(tokens, written)
    return settled, written if settled is tokens else "".join([symbol[token] for token in settled])


@cache
def _stretches() -> Remembered[Read]:
    return Remembered(_read)
