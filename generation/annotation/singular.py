"""Plural nouns by which one person is meant ("a women", "the men is"): misspellings with one plain intended word (guideline R1)."""

from functools import cache

from generation.annotation.lexicon import Entry, lexicon, plural, spelt, unlisted
from generation.annotation.mentions import BEFORE_PERSON
from generation.annotation.neighbours import at, kind_at

_OF_ONE = frozenset({"a", "an", "one", "this", "another"})
_OF_SEVERAL = frozenset({"few", "dozen", "hundred"})  # "a few women"
_BETWEEN = BEFORE_PERSON - {"number"}
_IS = frozenset({"is", "was", "has been", "appears to be", "seems to be", "looks to be"})


def in_number(tokens: list[Entry]) -> list[Entry]:
    """The tokens with "woman" for "women" where the article or the verb is singular, and where "the women" comes again."""
    if not any(token.plural for token in tokens):
        return tokens
    found = tokens.copy()
    names: set[str] = set()  # such plurals of the caption
    for i, token in enumerate(tokens):
        one = _singular(token.text) if token.plural else None
        if one is None:
            continue
        start = i
        while start > 0 and tokens[start - 1].kind in _BETWEEN and tokens[start - 1].text not in _OF_SEVERAL:
            start -= 1
        article = at(tokens, start - 1).text
        if article in _OF_ONE or _does_what_one_does(tokens, start, i) or (article == "the" and token.text in names):
            found[i] = one
            names.add(token.text)
    return found


def _does_what_one_does(tokens: list[Entry], start: int, i: int) -> bool:
    """ "the women | is", "women who | has"; but "one of the women | is", "behind the women | is"."""
    start -= at(tokens, start - 1).text == "the"
    i += 1 + (at(tokens, i + 1).text == "who")
    does = at(tokens, i).text
    return kind_at(tokens, start - 1) in ("", "stop") and (does in _IS or does in spelt("finite"))


def _singular(noun: str) -> Entry | None:
    if noun.endswith("men"):
        one = noun[:-2] + "an"
        return lexicon().single.get(one) or unlisted(one)
    return _singulars().get(noun)


@cache
def _singulars() -> dict[str, Entry]:
    persons = [entry for entry in lexicon().single.values() if entry.kind == "person" and not entry.plural]
    return {plural(entry.text): entry for entry in persons} | {"children": lexicon().single["child"]}
