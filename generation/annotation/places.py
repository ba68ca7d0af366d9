"""Whether what a place word leads to is worn: "under her dress", "on his coat", "from her hat to her shoes" (R6)."""

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.neighbours import is_before_garment, kind_at

_WORN = ("garment", "hat")
_UNDER = frozenset({"under", "underneath", "beneath", "inside", "below"})


def is_under_garment(tokens: list[Entry], i: int, end: int, target: str, begins: bool) -> bool:
    """ "pants | under her dress", "under the jacket is a top", "a bun | under a hat", "under a cap, a man"; but "a man in a coat | under a
    bridge". end, target: of the noun phrase before. begins: a clause begins at i."""
    if tokens[i].text not in _UNDER:
        return False
    kinds = _WORN if begins or target in ("hair", "hairstyle") else ("garment",)
    place = i
    while i > 0 and tokens[i - 1].text in spelt("layered"):
        i -= 1  # "hair tucked | under a hat"
    return (begins or (end == i and target != "")) and is_before_garment(tokens, place, kinds)


def is_on_garment(tokens: list[Entry], i: int, end: int) -> bool:
    """ "no sleeves | on her red top", "sleeves rolled up | on a shirt", "a badge | on his coat"; but "a jacket | on the bench"."""
    before = i
    while kind_at(tokens, before - 1) == "modifier":
        before -= 1  # "sleeves rolled up | on"
    what = kind_at(tokens, before - 1)
    if tokens[i].text != "on" or end not in (before, i) or what not in ("part", "sleeve", "accessory"):
        return False
    return (what == "sleeve" or kind_at(tokens, i + 1) == "pronoun") and is_before_garment(tokens, i)


def is_of_garment(tokens: list[Entry], i: int) -> bool:
    """ "the train | of her gown", "because | of his hat"."""
    return tokens[i].text == "of" and kind_at(tokens, i + 1) == "pronoun" and is_before_garment(tokens, i, _WORN)


def is_from_to(tokens: list[Entry], i: int) -> bool:
    """ "in white | from her hat to her shoes"."""
    if tokens[i].text != "from" or not is_before_garment(tokens, i, _WORN):
        return False
    return any(token.text == "to" for token in tokens[i + 2 : i + 6])
