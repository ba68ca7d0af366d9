"""What follows a noun phrase and says that the thing is not worn (guideline R6)."""

from generation.annotation.lexicon import Entry
from generation.annotation.runs import Phrase

CARRIED_WORDS = frozenset(
    {"tied", "slung", "draped", "folded", "hanging", "thrown", "wrapped", "carried", "tucked", "lying", "sitting", "resting", "standing"}
)
_HOLDING_PARTS: dict[str, tuple[str, ...]] = {
    "in": ("hand", "hands", "arm", "arms"),
    "over": ("arm", "arms", "shoulder", "shoulders"),
    "on": ("arm", "lap", "shoulder", "shoulders"),
    "around": ("waist", "hip", "hips", "shoulder", "shoulders"),
    "under": ("arm", "arms"),
    "across": ("arm", "lap", "arms"),
    "at": (),
    "off": (),
}


def relation_after(tokens: list[Entry], phrase: Phrase) -> str | None:
    """ "a jacket over his arm", "a sweater tied around her waist", "a bag on the bench": what follows may say that it is not worn."""
    i = phrase.end
    while i < len(tokens) and tokens[i].kind in ("verb", "word") and tokens[i].text in CARRIED_WORDS:
        i += 1
    if i < len(tokens) and tokens[i].text in ("next to", "beside", "behind", "near") and i + 1 < len(tokens):
        return "placed" if tokens[i + 1].text in ("him", "her", "them") and i + 2 >= len(tokens) else None
    if i >= len(tokens) or tokens[i].text not in ("in", "over", "on", "around", "under", "across", "at", "off"):
        return None
    preposition = tokens[i].text
    i += 1
    while i < len(tokens) and tokens[i].kind in ("det", "pronoun", "modifier", "number") and tokens[i].text != "it":
        i += 1
    if i >= len(tokens):
        return None
    place = tokens[i].text
    if tokens[i].kind == "surface" or place == "it":
        return "placed"
    is_bag = phrase.head is not None and phrase.head.kind == "bag"
    if is_bag or tokens[i].kind != "body":
        return "placed" if is_bag and preposition == "at" and place in ("foot", "feet") else None
    return "held" if place in _HOLDING_PARTS[preposition] else None
