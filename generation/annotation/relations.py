"""What follows a noun phrase and says that the thing is not worn (guideline R6)."""

from functools import cache

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.neighbours import at, is_possessive, kind_at, kind_before
from generation.annotation.runs import MODIFIERS, NOUNS, Phrase

_NOUN_LIKE = NOUNS | MODIFIERS | {"word", "person", "sleeve"}
_NO_PART_OF_A_PERSON = _NOUN_LIKE - {"body", "garment", "person"}
_NEAR = ("next to", "beside", "behind", "near", "in front of")
_STANDS = ("on", "at", "under", "against")
_BY = ("next to", "beside", "near")
_HEAD_REACH = 6  # tokens from a hat to the head it is on
CLAUSE_PRONOUNS = frozenset({"it", "he", "she"})
_HOLDING_PARTS: dict[str, tuple[str, ...]] = {
    "in": ("hand", "hands", "arm", "arms", "lap", "pocket", "back pocket", "side pocket", "front pocket"),
    "over": ("arm", "arms", "forearm", "elbow", "shoulder", "shoulders"),
    "on": ("arm", "forearm", "lap", "shoulder", "shoulders", "knee", "knees"),
    "around": ("waist", "hip", "hips", "shoulder", "shoulders"),
    "round": ("waist", "hip", "hips", "shoulder", "shoulders"),
    "under": ("arm", "arms", "head"),
    "across": ("arm", "lap", "arms"),
    "at": (),
    "off": (),
    "from": (),
    "to": (),
}
_HOLDS_TO = ("from", "to")
_SWINGING = ("swinging in", "swinging from", "swinging at", "swinging by")
_ON_BODY = frozenset({"in", "on", "over", "across", "around", "round", "from", "at", *_SWINGING})
# Prepositions behind a noun phrase that are asked for, here or in `phrases.py`.
ASKED_BEHIND_A_PHRASE = frozenset({*_HOLDING_PARTS, *_NEAR, *_ON_BODY, "against", "of", "under", "underneath", "beneath", "inside"})


def is_on_head(tokens: list[Entry], i: int) -> bool:
    """ "a hat sits crookedly on his head", "a cap covers her head", "a beanie pulled low over his ears"."""
    texts = [token.text for token in tokens[i : i + _HEAD_REACH]]
    head = next((place for place, text in enumerate(texts) if text in spelt("heads")), 0)
    if any(token.kind in ("comma", "stop", "person", "in") for token in tokens[i : i + head]):
        return False
    return not spelt("on_head").isdisjoint(texts[:head])


def is_on_body(tokens: list[Entry], i: int) -> bool:
    """ "a bag | on the back", "a bag | is slung across his chest", but not "on the back of a chair"."""
    i = _behind_any(tokens, i + (at(tokens, i).kind == "be"), spelt("carried"))
    if at(tokens, i).text not in _ON_BODY:
        return False
    i = _behind_articles(tokens, i + 1)
    is_body = at(tokens, i).kind == "body" or at(tokens, i).text in spelt("whole_body")
    return is_body and at(tokens, i + 1).text != "of" and at(tokens, i).text not in spelt("feet")


def _behind_articles(tokens: list[Entry], i: int) -> int:
    while at(tokens, i).kind in ("det", "pronoun", "modifier", "number") and tokens[i].text not in CLAUSE_PRONOUNS:
        i += 1
    return i


def _behind_any(tokens: list[Entry], i: int, words: frozenset[str]) -> int:
    while at(tokens, i).kind in ("verb", "word") and tokens[i].text in words:
        i += 1
    return i


def relation_after(tokens: list[Entry], phrase: Phrase, begins: bool) -> str | None:
    """ "a jacket over his arm", "a sweater tied around her waist", "a bag on the bench": what follows may say that it is not worn.

    begins: the tokens are the beginning of the caption.
    """
    i = phrase.end
    if at(tokens, i).text == "of" and at(tokens, i + 1).kind == "word":
        i += 2  # "a bag of onions | sits on the ground"
    is_first = begins and [token.kind for token in tokens[: phrase.start]] in ([], ["det"])  # the caption begins with it
    if is_first and at(tokens, i).text in spelt("lying"):
        return "placed"  # "a bag lies next to a man"
    is_subject = _is_subject(tokens, phrase.start, begins)
    if is_subject and _stands_somewhere(tokens, i, phrase):
        return "placed"
    is_clause = _is_clause(tokens, i, is_subject)
    i += is_clause
    i = _behind_carried(tokens, i, phrase, is_clause or is_subject)
    preposition = at(tokens, i).text
    if preposition == "of" and _is_person(tokens, i + 1) and not is_first:
        return "other"  # "the bag of a woman"
    if preposition in _NEAR and not (i == phrase.end and _is_worn(tokens, phrase)):
        is_free = phrase.relation != "held" or ((is_subject or is_clause) and preposition in _BY)  # but "pulls a suitcase behind her"
        return "placed" if is_free and _is_beside(tokens, i + 1) else None
    if preposition not in _HOLDING_PARTS or (preposition in _HOLDS_TO and i == phrase.end):
        return None
    if preposition == "in" and _is_other_hand(tokens, i + 1):
        return "held"
    i = _behind_articles(tokens, i + 1)
    if at(tokens, i).kind == "body" and at(tokens, i + 1).text == "of":
        i += 2 + (at(tokens, i + 2).kind in ("det", "pronoun"))  # "from the back of a chair"
    if _is_where_somebody_is(tokens, phrase, at(tokens, i)):
        return None
    return _relation_to(at(tokens, i), preposition, phrase, is_clause)


def _stands_somewhere(tokens: list[Entry], i: int, phrase: Phrase) -> bool:
    """ ", and a bag | is standing beside her", "| lies on the step beside her", ". A bag | rests against a wall"; but "| rests in the crook
    of her arm", "| on her knee". In ", and a bag | stands against a wall" it is the person who stands."""
    i += at(tokens, i).kind == "be"
    if at(tokens, i).text not in spelt("lying") or phrase.head is None or phrase.head.kind != "bag":
        return False
    preposition, i = at(tokens, i + 1).text, i + 2
    if preposition in _STANDS:
        i = _behind_articles(tokens, i)
        if not (at(tokens, i).kind == "surface" or at(tokens, i).kind in _NO_PART_OF_A_PERSON) or at(tokens, i + 1).text == "of":
            return False
        preposition, i = at(tokens, i + 1).text, i + 2
    elif preposition not in _NEAR:
        return False
    return _begins_sentence(tokens, phrase.start) or (preposition in _NEAR and _is_beside(tokens, i))


def _begins_sentence(tokens: list[Entry], start: int) -> bool:
    """A subject does, and no list goes on."""
    return kind_at(tokens, _first_of_subject(tokens, start) - 1) in ("", "stop")


def _is_where_somebody_is(tokens: list[Entry], phrase: Phrase, place: Entry) -> bool:
    """ "in a red coat | on a bench", "a bag | on the street"; but "with a coat | on a bench", "his coat | on a bench"."""
    if place.kind != "surface" or at(tokens, phrase.end).text not in ("on", "in", "at", "across", "under", "around", "round"):
        return False
    return place.text in spelt("streets") or phrase.relation == "held" or _is_worn(tokens, phrase)


def _is_worn(tokens: list[Entry], phrase: Phrase) -> bool:
    """ "in a red coat | next to her", but not "with a hat | on the bench", "her hat | on the bench", ", a hat | beside her"."""
    if phrase.head is None or phrase.head.kind not in ("garment", "hat"):
        return False
    before = kind_before(tokens, phrase.start)
    is_one = at(tokens, phrase.start - 1).kind == "det"
    return before != "with" and not is_possessive(at(tokens, phrase.start - 1)) and not (before in ("comma", "stop") and is_one)


def _is_in_place(tokens: list[Entry], i: int) -> bool:
    """ "his hat | is in the other hand", "| is on the bench", "| is beside him", but not "| is in green"."""
    if at(tokens, i).kind == "be" and at(tokens, i + 1).text in _BY:
        return _is_beside(tokens, i + 2)
    if at(tokens, i).kind != "be" or at(tokens, i + 1).text not in _HOLDING_PARTS:
        return False
    return at(tokens, _behind_articles(tokens, i + 2)).kind in ("body", "surface")


def _is_subject(tokens: list[Entry], start: int, begins: bool) -> bool:
    """ ". His cap | is lying on the wall", ", the chef's hat | sits on a shelf": it is the thing that lies and sits."""
    i = _first_of_subject(tokens, start)
    i -= i > 1 and [token.kind for token in tokens[i - 2 : i]] == ["comma", "joiner"]
    return i < start and (tokens[i - 1].kind in ("stop", "comma") if i > 0 else begins)


def _first_of_subject(tokens: list[Entry], i: int) -> int:
    while i > 0 and (tokens[i - 1].kind in ("det", "modifier") or is_possessive(tokens[i - 1])):
        i -= 1
    return i


def _is_clause(tokens: list[Entry], i: int, is_subject: bool) -> bool:
    """ "whose cap | was left on the bench", "his cap | is in the other hand"; but "a man in a cap | is sitting on a bench"."""
    is_put = at(tokens, i).kind == "be" and at(tokens, i + 1).text in spelt("put")
    if is_put and (is_subject or tokens[i + 1].text not in spelt("posture") | spelt("reclining")):
        return True
    return _is_in_place(tokens, i)


def _behind_carried(tokens: list[Entry], i: int, phrase: Phrase, by_itself: bool) -> int:
    """The place behind "slung", "tied", "lying". Who has a thing sits and stands, not the thing: "in a hat | sitting on a bench"."""
    is_bag = phrase.head is not None and phrase.head.kind == "bag" and phrase.relation != "held"
    sits = by_itself and phrase.head is not None and phrase.head.kind == "hat"
    carried = spelt("carried") if by_itself and is_bag else _carried_not_standing() | (spelt("sitting") if sits else frozenset())
    return _behind_any(tokens, i, carried)


@cache
def _carried_not_standing() -> frozenset[str]:
    return spelt("carried") - spelt("posture")


def _relation_to(place: Entry, preposition: str, phrase: Phrase, is_clause: bool) -> str | None:
    if place.kind == "surface" or place.text == "it":
        return "placed"
    if is_clause and place.kind in _NO_PART_OF_A_PERSON:
        return "placed"  # "a vest is draped over the handle"
    is_bag = phrase.head is not None and phrase.head.kind == "bag"
    if is_bag or (place.kind != "body" and preposition not in _HOLDS_TO):
        return "placed" if is_bag and preposition == "at" and place.text in ("foot", "feet") else None
    if preposition in _HOLDS_TO:
        return "held" if place.kind in NOUNS or place.kind == "word" else None  # "a helmet hanging from his belt", "clipped to a bag"
    if place.text.endswith("pocket") and phrase.head is not None and phrase.head.kind == "garment":
        return None  # "in jeans, (hands) in his pockets"
    return "held" if place.text in _HOLDING_PARTS[preposition] else None


def _is_person(tokens: list[Entry], i: int) -> bool:
    return at(tokens, i + (at(tokens, i).kind == "det")).kind == "person"


def is_near(tokens: list[Entry], i: int) -> bool:
    """ "a thing | beside him", "| at his feet", "| on the floor"."""
    if tokens[i].text in _NEAR:
        return _is_beside(tokens, i + 1)
    place = at(tokens, _behind_articles(tokens, i + 1))
    return tokens[i].text in ("on", "at") and (place.kind == "surface" or place.text in spelt("feet"))


def holding_place(tokens: list[Entry], body: Phrase) -> int:
    """Where "around" of "around his | waist" stands, "over" of "over her | arm": what is there is not worn; else -1."""
    i = body.start
    while kind_at(tokens, i - 1) in ("det", "pronoun", "modifier", "number"):
        i -= 1
    return i - 1 if body.word in _HOLDING_PARTS.get(at(tokens, i - 1).text, ()) else -1


def _is_beside(tokens: list[Entry], i: int) -> bool:
    """ "next to | her", "beside | her feet", but not "next to | her red coat"."""
    after = at(tokens, i + 1)
    return (at(tokens, i).text in ("him", "her", "them") and after.kind not in _NOUN_LIKE) or after.text in ("foot", "feet")


def _is_other_hand(tokens: list[Entry], i: int) -> bool:
    """ "a case in one hand and his cap in | the other"."""
    return [token.kind for token in tokens[i : i + 2]] == ["det", "det"] and at(tokens, i + 2).kind not in _NOUN_LIKE
