"""Caption text -> tokens. Case, hyphens, spacing and plain misspellings are gone afterwards; framing words are left out."""

import re
from dataclasses import astuple, replace
from functools import cache
from typing import NamedTuple

from generation.annotation.lexicon import Entry, Phrases, lexicon
from generation.annotation.remembered import Remembered
from generation.annotation.symbols import symbols

_PLAIN = re.compile(r"[a-z ,.-]*")  # of such texts the words are found without the expression below, three times as fast
_WORDS = re.compile(r"[a-z]+|\d+s?|'s|[,.;:!?/&]")
_ELISION = re.compile(r"n't\b")


class _Word(NamedTuple):
    """What is known of one word of a text."""

    entry: Entry | None  # by itself; None: left out
    phrases: Phrases  # the listed phrases that begin with it
    spelt: str


def tokenise(caption: str) -> list[Entry]:
    """Entries in the order of the text. Words that no list knows have kind "word", or "verb" when they end in -ing."""
    word_of = _known_words()
    words = [word_of[text] for text in _split(caption.lower())]
    entries = [word.entry for word in words]
    end = 0  # of the listed phrase before
    for start in [i for i, word in enumerate(words[:-1]) if word.phrases]:
        options = words[start].phrases.get(words[start + 1].spelt) if start >= end else None
        for phrase, entry in options or ():
            if phrase == [word.spelt for word in words[start : start + len(phrase)]]:
                end = start + len(phrase)
                entries[start:end] = [entry if entry.kind != "filler" else None, *[None] * (len(phrase) - 1)]
                break
    return [entry for entry in entries if entry is not None]


def _split(text: str) -> list[str]:
    """Words and punctuation marks of a text in small letters; anything else between them is gone."""
    if _PLAIN.fullmatch(text):
        return text.replace("-", " ").replace(",", " , ").replace(".", " . ").split()
    text = text.replace("’", "'").replace("`", "'")
    return _WORDS.findall(_ELISION.sub(" not", text) if "n't" in text else text)


@cache
def _known_words() -> Remembered[str, _Word]:
    return Remembered(_word)


def _word(text: str) -> _Word:
    known, table = lexicon(), symbols()  # which gives all listed words their symbols
    spelt = text if text in known.words else known.spelling.get(text) or _respelt(text)
    entry = known.single.get(spelt) or table.mark(_unlisted(spelt))
    return _Word(None if entry.kind == "filler" else entry, known.longer.get(spelt, {}), spelt)


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
    """The one listed word at edit distance 1 that begins alike, or the word itself.

    Words that exist themselves are never changed; which ones lie that close to a listed word is data (`real_words`). Words of one
    meaning ("jacket", "jackets") are as good as one: the shortest is taken, of persons the singular.
    """
    if word in lexicon().real_words or not word.isalpha():
        return word
    sharing = {target for rest in _rests(word) for target in _targets_by_rest().get(rest, ())}
    near = [target for target in sharing if _begins_alike(word, target) and _one_edit_apart(word, target)]
    return min(near, key=_number_and_length) if len({_meaning(target) for target in near}) == 1 else word


def _meaning(target: str) -> tuple[object, ...]:
    entry = lexicon().single.get(target)
    if entry is None:
        return (target,)
    return (entry.kind, entry.gender) if entry.gender is not None else astuple(replace(entry, text="", plural=False, symbol=""))


def _number_and_length(target: str) -> tuple[bool, int, str]:
    entry = lexicon().single.get(target)
    return entry is not None and entry.plural, len(target), target


def _begins_alike(word: str, target: str) -> bool:
    return word[0] == target[0] or (len(word) == len(target) and word[:2] == target[1::-1])


def _rests(word: str) -> set[str]:
    """The word, and what is left of it without one letter: words at edit distance 1 have one of these in common."""
    return {word, *(word[:i] + word[i + 1 :] for i in range(len(word)))}


@cache
def _targets_by_rest() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for target in lexicon().spelling_targets:
        for rest in _rests(target):
            found.setdefault(rest, []).append(target)
    return found


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
