"""Caption text -> tokens. Case, hyphens, spacing and plain misspellings are gone afterwards; framing words are left out."""

import re
from dataclasses import replace
from functools import cache
from itertools import compress, count

from generation.annotation.lexicon import Entry, fields_of, lexicon, unlisted
from generation.annotation.remembered import Remembered
from generation.annotation.symbols import in_symbols, symbols

_PLAIN = re.compile(r"[a-z ,.-]*")  # of such texts the words are found without the expression below, three times as fast
_WORDS = re.compile(r"[a-z]+|\d+s?|'s|[,.;:!?/&]")
# Frequent words at which no listed phrase is cut (a test holds that).
CUTS = ((" a ", " a\0 "), (" and ", " and\0 "), (",", ",\0"), (".", ".\0"), (" with ", "\0 with "))
_DASH = re.compile("—| – ")  # "a coat — black — and"; "off–white" is one word
_ELISION = re.compile(r"n't\b")
_BEFORE_COUNTED = frozenset({"modifier", "age", "size", "colour", "word"})
_ANSWERED = re.compile(  # "hat: none visible" is "no hat"; of "hat: unknown" nothing is left
    r"""\b(?P<item>[a-z][a-z -]{1,30})["']?\s?:\s?["']?
    (?:(?P<no>(?:no|none|not|false|absent|nothing)(?:[ ](?:visible|present|seen|shown|worn|carried|(?P=item)))*)
    |unknown|unclear|not[ ]sure|n/a)\b["']?(?=\s*(?:[,.;\n}]|$))""",
    re.VERBOSE,
)
_OF_SEVERAL = re.compile(r"s' (?!(?:a|and|with)\b)(?=[a-z])")  # "the boys' coats"; nothing is owned by them where texts are cut


def tokenise(caption: str) -> tuple[list[Entry], str]:
    """Entries in the order of the text, and the same in symbols.

    Words that no list knows have kind "word", or "verb" when they end in -ing.
    """
    text = caption.lower().replace("\0", " ")
    for words, cut in CUTS:
        text = text.replace(words, cut)
    known = _chunks()
    tokens: list[Entry] = []
    text_in_symbols = ""
    for chunk in text.split("\0"):
        entries, meanings = known[chunk]
        tokens += entries
        text_in_symbols += meanings
    return tokens, text_in_symbols


@cache
def _chunks() -> Remembered[str, tuple[list[Entry], str]]:
    """A chunk of a text in small letters -> its entries, and the same in symbols. Captions differ, their chunks recur."""
    return Remembered(_both_of)


def _both_of(text: str) -> tuple[list[Entry], str]:
    tokens = tokens_of(text)
    return tokens, in_symbols(tokens)


def tokens_of(text: str) -> list[Entry]:
    """The same of a text in small letters, in one go."""
    words = [*map(_spelling().__getitem__, _split(text))]
    entries = [*map(_single().__getitem__, words)]
    longer = lexicon().longer
    end = 0  # of the listed phrase before
    for start in [*compress(count(), map(longer.__contains__, words[:-1]))]:
        options = longer[words[start]].get(words[start + 1]) if start >= end else None
        for phrase, entry in options or ():
            if phrase == words[start : start + len(phrase)]:
                end = start + len(phrase)
                entries[start:end] = [_in_text(entry, entries[end:]), *[None] * (len(phrase) - 1)]
                break
    return [entry for entry in entries if entry is not None]


def _in_text(phrase: Entry, following: list[Entry | None]) -> Entry | None:
    """What a listed phrase becomes: framing is left out, but "a pair of | women" are not "a women"."""
    if phrase.kind != "filler":
        return phrase
    kinds = (entry.kind for entry in following if entry is not None and entry.kind not in _BEFORE_COUNTED)
    return _several() if phrase.text.endswith(" of") and next(kinds, "") == "person" else None


@cache
def _several() -> Entry:
    return lexicon().single["several"]


def _split(text: str) -> list[str]:
    """Words and punctuation marks of a text in small letters; anything else between them is gone."""
    if _PLAIN.fullmatch(text):
        return text.replace("-", " ").replace(",", " , ").replace(".", " . ").split()
    text = _DASH.sub(" , ", text.replace("’", "'").replace("`", "'").replace(" ' s ", "'s "))
    text = _ANSWERED.sub(lambda one: f"no {one['item']}. " if one["no"] else " ", text) if ":" in text else text
    text = _OF_SEVERAL.sub("s 's ", text) if "s' " in text else text
    return _WORDS.findall(_ELISION.sub(" not", text) if "n't" in text else text)


@cache
def _spelling() -> Remembered[str, str]:
    """A word of a text -> the word that is meant."""
    known = lexicon()
    return Remembered(lambda word: word if word in known.words else known.spelling.get(word) or _respelt(word))


@cache
def _single() -> Remembered[str, Entry | None]:
    """A word by itself; None: left out."""
    return Remembered(_entry)


def _entry(word: str) -> Entry | None:
    known, table = lexicon(), symbols()  # which gives all listed words their symbols
    entry = known.single.get(word) or table.mark(unlisted(word))
    return None if entry.kind == "filler" else entry


def _respelt(word: str) -> str:
    """The one listed word at edit distance 1 that begins alike, or the word itself.

    Words that exist themselves are never changed; which ones lie that close to a listed word is data (`real_words`). Words of one
    meaning ("jacket", "jackets") are as good as one: the shortest is taken, of persons the singular.
    """
    if word in lexicon().real_words or not word.isalpha():
        return word
    sharing = {target for rest in _rests(word) for target in _targets_by_rest().get(rest, ())}
    near = [target for target in sharing if _begins_alike(word, target) and _one_edit_apart(word, target)]
    likeliest = [target for target in near if set(target) == set(word)] or near  # "gren" is green and not grey
    return min(likeliest, key=_number_and_length) if len({_meaning(target) for target in likeliest}) == 1 else word


def _meaning(target: str) -> tuple[object, ...]:
    entry = lexicon().single.get(target)
    if entry is None:
        return (target,)
    return (entry.kind, entry.gender) if entry.gender is not None else fields_of(replace(entry, text="", plural=False, symbol=""))


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
