"""What stands before and behind a token of a caption."""

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.runs import MODIFIERS, NOUNS, Phrase, may_describe

_NOTHING = Entry("", "")
_BEHIND_AN_ADVERB = frozenset({"", "be", "comma", "stop", "joiner", "wear", "hold", "with", "verb", "place"})  # a piece may end there
_BEFORE_SUBJECT = frozenset({"", "stop", "comma", "joiner"})
_MAY_BE_ABSENT = frozenset({"hat", "headwear", "bag", "garment"})
_BEFORE_GARMENT = frozenset({"det", "sleeve", "be"})
_POSSESSIVES = frozenset({"his", "her", "their", "its", "my", "your", "'s"})


def at(tokens: list[Entry], i: int) -> Entry:
    """The token at i; one of no kind before the first and behind the last."""
    return tokens[i] if 0 <= i < len(tokens) else _NOTHING


def kind_at(tokens: list[Entry], i: int) -> str:
    return at(tokens, i).kind


def kind_before(tokens: list[Entry], i: int) -> str:
    """Kind of the last token before i that is no article."""
    while kind_at(tokens, i - 1) == "det":
        i -= 1
    return kind_at(tokens, i - 1)


def ends_behind(tokens: list[Entry], i: int) -> bool:
    """A preposition of nothing."""
    following = kind_at(tokens, i + 1)
    return following in _BEHIND_AN_ADVERB or (following == "pronoun" and tokens[i + 1].text in ("he", "she"))


def is_adverb(tokens: list[Entry], i: int) -> bool:
    """ "a white top underneath, and a skirt", "has a dress on that is red"."""
    if kind_at(tokens, i) != "place":
        return False
    return ends_behind(tokens, i) or (kind_at(tokens, i + 1) == "det" and kind_at(tokens, i + 2) == "be")


def is_before_garment(tokens: list[Entry], i: int, kinds: tuple[str, ...] = ("garment",)) -> bool:
    """ "under | her long red dress", "over | a red and blue shirt"."""
    i += 1
    while i < len(tokens) and (may_describe(tokens, i) or tokens[i].kind in _BEFORE_GARMENT or is_possessive(tokens[i])):
        i += 1
    return kind_at(tokens, i) in kinds


def is_at_feet(tokens: list[Entry], phrase: Phrase) -> bool:
    """ "at her | feet is a bag"."""
    return phrase.word in spelt("feet") and any(t.text in spelt("near") for t in tokens[max(0, phrase.start - 2) : phrase.start])


def is_of_any_kind(tokens: list[Entry], phrase: Phrase) -> bool:
    return kind_at(tokens, phrase.end) == "of_any_kind" or kind_at(tokens, phrase.start - 1) == "kind_of"


def is_absent(tokens: list[Entry], phrase: Phrase) -> bool:
    """ "a hat | is not visible", "his hat | left at home"; but "the logo of his hat | is not visible", "her hat | is not visible"."""
    if phrase.head is None or phrase.head.kind not in _MAY_BE_ABSENT:
        return False
    behind = kind_at(tokens, phrase.end + (kind_at(tokens, phrase.end) == "be"))
    if behind == "unseen":
        return kind_before(tokens, phrase.start) in _BEFORE_SUBJECT and kind_at(tokens, phrase.start - 1) != "joiner"
    return behind == "away"


def is_possessive(token: Entry) -> bool:
    return token.kind == "pronoun" and token.text in _POSSESSIVES


def is_adjective(tokens: list[Entry], i: int) -> bool:
    """ "a racing suit", "his riding boots", "jeans and hiking boots"."""
    if i == 0 or kind_at(tokens, i + 1) not in NOUNS:
        return False
    is_worn = tokens[i - 1].kind in ("joiner", "comma", "with", "wear", "in") and tokens[i + 1].kind in ("garment", "hat", "accessory")
    return is_worn or tokens[i - 1].kind == "det" or is_possessive(tokens[i - 1])


def list_ends_with_or(tokens: list[Entry], i: int) -> bool:
    """In "no hat, a bag or a scarf" the list behind the comma runs into an "or"."""
    for token in tokens[i + 1 :]:
        if token.item in ("or", "nor") and token.kind == "joiner":
            return True
        if token.kind not in NOUNS and token.kind not in MODIFIERS and token.kind not in ("det", "comma", "word"):
            return False
    return False
