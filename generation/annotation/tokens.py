"""Caption text -> tokens. Case, hyphens, spacing and plain misspellings are gone afterwards; framing words are left out."""

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Generic, TypeVar

from generation.annotation.lexicon import Entry, lexicon

V = TypeVar("V")

_PIECES = re.compile(r"[a-z]+|\d+s?|'s|[,.;:!?/&]")
_PLAIN = re.compile(r"[a-z ,.-]*")  # most captions; read without the expression above
_MAX_REMEMBERED = 1 << 17
_ELISION = re.compile(r"n't\b")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_MIN_MISSPELT = 4  # shorter words are too often other words


def tokenise(caption: str) -> list[Entry]:
    """Entries in the order of the text. Words that no list knows have kind "word", or "verb" when they end in -ing."""
    longer, entry_of, words = lexicon().longer, _entries(), _words(caption)
    count = len(words)
    words.append("")
    tokens: list[Entry] = []
    position = 0
    while position < count:
        word = words[position]
        if word in longer and (options := longer[word].get(words[position + 1])) is not None:  # few words begin a listed phrase
            entry, length = _longest(options, words, position)
            if entry is not None:
                if entry.kind != "filler":
                    tokens.append(entry)
                position += length
                continue
        entry = entry_of[word]
        if entry is not None:
            tokens.append(entry)
        position += 1
    return tokens


def _longest(options: Sequence[tuple[list[str], Entry]], words: list[str], position: int) -> tuple[Entry | None, int]:
    """The longest listed phrase that begins here, and its length in words; None where the words are another phrase's."""
    for phrase, entry in options:
        if words[position : position + len(phrase)] == phrase:
            return entry, len(phrase)
    return None, 0


class _Remembered(dict[str, V], Generic[V]):
    """Word -> what a function makes of it; forgets all when it becomes large."""

    def __init__(self, function: Callable[[str], V]) -> None:
        self._function = function

    def __missing__(self, word: str) -> V:
        if len(self) >= _MAX_REMEMBERED:
            self.clear()
        value = self[word] = self._function(word)
        return value


@cache
def _entries() -> _Remembered[Entry | None]:
    """A word by itself -> its entry, None where it is left out."""
    return _Remembered(_entry)


def _entry(word: str) -> Entry | None:
    entry = lexicon().single.get(word) or _unlisted(word)
    return None if entry.kind == "filler" else entry


def _words(caption: str) -> list[str]:
    text = caption.lower()
    if _PLAIN.fullmatch(text):
        pieces = text.replace("-", " ").replace(",", " , ").replace(".", " . ").split()
    else:
        text = text.replace("’", "'").replace("`", "'")
        if "n't" in text:
            text = _ELISION.sub(" not", text)
        pieces = _PIECES.findall(text)
    spelt = _spellings()
    return [spelt[word] for word in pieces]


@cache
def _spellings() -> _Remembered[str]:
    return _Remembered(_spelt)


def _spelt(word: str) -> str:
    known = lexicon()
    return word if word in known.words else known.spelling.get(word) or _respelt(word)


def _unlisted(word: str) -> Entry:
    """Numbers, words in -man and -woman, verbs in -ing; anything else is a word that takes a colour and keeps it."""
    if word.isdigit():
        return Entry("number", word, value=int(word) if len(word) < 4 else None)
    if word not in lexicon().not_man_words:
        for ending, gender, plural in (("woman", 0, False), ("women", 0, True), ("man", 1, False), ("men", 1, True)):
            if word.endswith(ending) and len(word) > len(ending) + 2:
                return Entry("person", word, gender=gender, age=None if plural else 1, plural=plural)
    return Entry("verb" if word.endswith("ing") and len(word) > 5 else "word", word)


def _respelt(word: str) -> str:
    """The one listed word at edit distance 1 with the same first letter, or the word itself.

    Words that exist themselves are never changed; which ones lie that close to a listed word is data (`real_words`).
    """
    if len(word) < _MIN_MISSPELT or word in lexicon().real_words or not word.isalpha():
        return word
    near = {target for target in lexicon().spelling_targets if target[0] == word[0] and _one_edit_apart(word, target)}
    return near.pop() if len(near) == 1 else word


def _one_edit_apart(word: str, target: str) -> bool:
    """Damerau-Levenshtein distance 1: one letter lost, added or changed, or two neighbours swapped."""
    if abs(len(word) - len(target)) > 1:
        return False
    if len(word) == len(target):
        differing = [i for i, (a, b) in enumerate(zip(word, target, strict=True)) if a != b]
        if len(differing) == 1:
            return True
        swapped = len(differing) == 2 and differing[1] == differing[0] + 1
        return swapped and word[differing[0]] == target[differing[1]] and word[differing[1]] == target[differing[0]]
    short, long = sorted((word, target), key=len)
    return any(long[:i] + long[i + 1 :] == short for i in range(len(long)))
