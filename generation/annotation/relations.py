"""What follows a noun phrase and says that the thing is not worn (guideline R6)."""

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.runs import MODIFIERS, NOUNS, Phrase

_NOUN_LIKE = NOUNS | MODIFIERS | {"word", "person", "sleeve"}
_NEAR = ("next to", "beside", "behind", "near")
_CLAUSE_PRONOUNS = ("it", "he", "she")
_HOLDING_PARTS: dict[str, tuple[str, ...]] = {
    "in": ("hand", "hands", "arm", "arms", "lap"),
    "over": ("arm", "arms", "shoulder", "shoulders"),
    "on": ("arm", "lap", "shoulder", "shoulders"),
    "around": ("waist", "hip", "hips", "shoulder", "shoulders"),
    "round": ("waist", "hip", "hips", "shoulder", "shoulders"),
    "under": ("arm", "arms"),
    "across": ("arm", "lap", "arms"),
    "at": (),
    "off": (),
    "from": (),
}


# Prepositions behind a noun phrase that are asked for, here or in `phrases.py`.
ASKED_BEHIND_A_PHRASE = frozenset({*_HOLDING_PARTS, *_NEAR, "of", "under", "underneath", "beneath"})


def relation_after(tokens: list[Entry], phrase: Phrase, begins: bool) -> str | None:
    """ "a jacket over his arm", "a sweater tied around her waist", "a bag on the bench": what follows may say that it is not worn.

    begins: the tokens are the beginning of the caption.
    """
    i = phrase.end
    if begins and phrase.start <= 1 and i < len(tokens) and tokens[i].text in spelt("lying"):
        return "placed"  # the caption begins with it: "a bag lies next to a man"
    if i + 1 < len(tokens) and tokens[i].kind == "be" and tokens[i + 1].text in spelt("put"):
        i += 1  # "whose cap was left on the bench"
    while i < len(tokens) and tokens[i].kind in ("verb", "word") and tokens[i].text in spelt("carried"):
        i += 1
    is_put = i > phrase.end
    if i < len(tokens) and tokens[i].text in _NEAR and i + 1 < len(tokens):
        after = tokens[i + 2].kind if i + 2 < len(tokens) else ""
        return "placed" if tokens[i + 1].text in ("him", "her", "them") and after not in _NOUN_LIKE else None
    if i >= len(tokens) or tokens[i].text not in _HOLDING_PARTS or (tokens[i].text == "from" and not is_put):
        return None
    preposition = tokens[i].text
    i += 1
    while i < len(tokens) and tokens[i].kind in ("det", "pronoun", "modifier", "number") and tokens[i].text not in _CLAUSE_PRONOUNS:
        i += 1
    if i >= len(tokens):
        return None
    place = tokens[i].text
    if tokens[i].kind == "surface" or place == "it":
        return "placed"
    is_bag = phrase.head is not None and phrase.head.kind == "bag"
    if is_bag or (tokens[i].kind != "body" and preposition != "from"):
        return "placed" if is_bag and preposition == "at" and place in ("foot", "feet") else None
    if preposition == "from":
        return "held" if tokens[i].kind in NOUNS or tokens[i].kind == "word" else None  # "a helmet hanging from his belt"
    return "held" if place in _HOLDING_PARTS[preposition] else None
