"""Which words of a caption belong to its main subject where several persons are named (guideline R4, R5).

Once another person has appeared, words belong to that one until the text returns to the first.
"""

import re
from functools import cache

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.mentions import Mention
from generation.annotation.runs import MODIFIERS, NOUNS
from generation.annotation.symbols import any_of

_NOTHING = Entry("", "")
_MIN_REPEATED = 3  # words of a description that goes on the second time: "with a hat"
_PREDICATES = ("wear", "hold", "be", "neg", "with")
_SAYS_LOOK = ("wear", "in", "hold", "be")


@cache
def _returns_at() -> re.Pattern[str]:
    return re.compile(any_of("person", "lifeless", "pronoun", "both", "all", "relative", "comma", "word"))


def ownership(tokens: list[Entry], text: str, mentions: list[Mention], main: Mention) -> tuple[list[bool], int]:
    """Which tokens are said of the main subject, and where the first other person appears. text: the tokens in symbols."""
    others_from = len(tokens)
    others: list[Mention] = []
    starts = {m.start: m for m in mentions}
    is_main = not mentions[0].is_figure
    owned: list[bool] = []
    for i in sorted({*(match.start() for match in _returns_at().finditer(text)), *starts}):
        was_main = is_main
        mention = starts.get(i)
        if mention is not None and mention is not main:
            is_main = _is_main_again(tokens, mentions, mention, main, others)
            if not is_main:
                others += [] if mention.is_figure else [mention]
                others_from = min(others_from, mention.first)  # "a child with his mother" is a boy
        elif mention is main or (not is_main and main.start < i and _returns(tokens, i, main, others)):
            is_main = True
        elif is_main and others and _leaves(tokens, i, main, others):
            is_main = False
        if is_main is not was_main:
            owned += [was_main] * (i - len(owned))
    return owned + [is_main] * (len(tokens) - len(owned)), others_from


def _is_main_again(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention, others: list[Mention]) -> bool:
    if mention.is_figure or mention.start < main.start:
        return False
    before = tokens[mention.start - 1] if mention.start > 0 else None
    if before is not None and before.kind in ("both", "all"):
        return not _is_named(tokens[mention.first].text, tokens, others)  # "both women are carrying bags"
    if (
        mention.plural
        and _text(tokens, mention) in ("pair", "couple", "two women", "two men", "two people")
        and not any(o.plural for o in others)
    ):
        return mention.determiner == "the" and len(others) == 1
    if renames(tokens, mention) or is_apposed(tokens, mentions, mention, main):
        return not others
    if before is not None and before.item == "or" and _is_named_before(tokens, mentions, mention, main):
        return True
    if mention.determiner in ("the", "this", "that"):
        if _side(tokens, mention) not in ("", _side(tokens, main)):
            return False
        same_noun = tokens[mention.first].text == tokens[main.first].text
        if same_noun and any(token.text in spelt("first") for token in tokens[mention.start : mention.first]):
            return True
        unknown_so_far = not others and main.gender is None and not main.plural
        if unknown_so_far or names_pronoun(tokens, mention, main, others):
            return True
        return same_noun and _is_only_one(tokens, main, others)
    if _is_bare_subject(tokens, mention) and tokens[mention.first].text == tokens[main.first].text and _is_only_one(tokens, main, others):
        return True
    return mention.determiner != "another" and _is_loop(tokens, mentions, mention, main)


def _is_only_one(tokens: list[Entry], main: Mention, others: list[Mention]) -> bool:
    return all(tokens[other.first].text != tokens[main.first].text for other in others)


def _is_bare_subject(tokens: list[Entry], mention: Mention) -> bool:
    """ "a man walks. | Man wears a hat", "a woman holds a baby, | woman wears a coat", as crowd workers leave out articles."""
    if mention.determiner or mention.plural or mention.start != mention.first or tokens[mention.start - 1].kind not in ("stop", "comma"):
        return False
    return mention.end < len(tokens) and tokens[mention.end].kind in _PREDICATES


def renames(tokens: list[Entry], mention: Mention) -> bool:
    """ "a person that is a waiter", but not "next to her is a man"."""
    i = mention.start
    return i > 1 and tokens[i - 1].kind == "be" and tokens[i - 2].text not in ("him", "her", "them", "it")


def names_pronoun(tokens: list[Entry], mention: Mention, main: Mention, others: list[Mention]) -> bool:
    """ "she wears a coat. The | woman has a hat"."""
    if tokens[main.first].kind != "pronoun" or mention.plural or mention.gender != main.gender or mention.determiner != "the":
        return False
    return all(o.plural or o.gender == 1 - (main.gender or 0) for o in others)


def _is_named_before(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention) -> bool:
    """ "a man or | a woman", "the person is a man or | a woman"."""
    before = mentions[mentions.index(mention) - 1]
    is_name = before is main or renames(tokens, before) or is_apposed(tokens, mentions, before, main)
    return is_name and mention.start == before.end + 1


def is_apposed(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention) -> bool:
    """ "the cyclist, | an older man, wears", "the guard, | male, wears", "person: | man", but not the list "a cyclist, a man and a dog"."""
    if main.plural or mention.plural or (main.gender is not None and mention.gender not in (None, main.gender)):
        return False
    if _is_value(tokens, mention, main):
        between = mentions[mentions.index(main) + 1 : mentions.index(mention)]
        return all(_is_value(tokens, other, main) for other in between)
    before = mentions[mentions.index(mention) - 1]
    again = before.determiner in ("the", "this", "that") and tokens[before.first].text == tokens[main.first].text
    if not (before is main or again) or tokens[before.end].kind != "comma" or mention.start != before.end + 1:
        return False
    is_one = mention.determiner in ("a", "an") or tokens[mention.first].text in spelt("sexes")
    after = [token.kind for token in tokens[mention.end : mention.end + 2]]
    is_list = after[:1] == ["joiner"] and tokens[mention.end].item != "or"
    return is_one and main.gender is None and not is_list and after not in (["comma", "joiner"], ["comma", "det"])


def _is_value(tokens: list[Entry], mention: Mention, main: Mention) -> bool:
    """ "person: | man", "gender: male, age: | adult", "a person walking, | male, with short hair"."""
    before = tokens[mention.start - 1]
    says_gender = main.gender is None and mention.gender is not None
    if before.text == ":":
        return says_gender or not mention.determiner
    is_alone = not mention.determiner and before.kind in ("comma", "stop")
    is_alone = is_alone and (mention.end == len(tokens) or tokens[mention.end].kind in ("comma", "stop"))
    return is_alone and (says_gender or tokens[mention.first].text in spelt("sexes"))


def _side(tokens: list[Entry], mention: Mention) -> str:
    """ "left" of "the man on the left"."""
    texts = [token.text for token in tokens[mention.end : mention.end + 3]]
    return texts[2] if texts[:2] == ["on", "the"] and texts[2:] in (["left"], ["right"]) else ""


def _text(tokens: list[Entry], mention: Mention) -> str:
    """Without its article."""
    return " ".join([token.text for token in tokens[mention.start + bool(mention.determiner) : mention.end]])


def _is_loop(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention) -> bool:
    """The same words again, perhaps cut at the end of the caption."""
    if _text(tokens, mention) != _text(tokens, main):
        return False
    if {t.text for t in tokens[main.end : mention.start]} <= {",", *(t.text for t in tokens[main.start : main.end])}:
        return True  # "a man, a man, | a man in a coat"
    first, again = _description(tokens, mentions, main), _description(tokens, mentions, mention)
    if first == again or (len(first) >= _MIN_REPEATED and again[: len(first)] == first):
        return True
    is_last = mentions[-1] is mention
    return is_last and bool(again) and first[: len(again)] == again


def _description(tokens: list[Entry], mentions: list[Mention], mention: Mention) -> list[str]:
    index = mentions.index(mention)
    end = mentions[index + 1].start if index + 1 < len(mentions) else len(tokens)
    texts = [t.text for t in tokens[mention.end : end]]
    while texts and texts[-1] in ("and", ",", ".", ";", "&"):
        texts.pop()
    return texts


def _leaves(tokens: list[Entry], i: int, main: Mention, others: list[Mention]) -> bool:
    """A pronoun, a possessive or "the second" that fits only somebody else: "a groom lifts his bride, | her gown white"."""
    token = tokens[i]
    following = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    if token.text in spelt("second") and tokens[i - 1].text == "the":
        return following in _SAYS_LOOK or following == "with"
    if token.kind != "pronoun":
        return False
    if token.item:
        return token.item != tokens[main.first].text and _is_named(token.item, tokens, others)
    if main.gender is None or token.gender == main.gender:
        return False
    if token.text in ("he", "she", "hers"):
        return any(o.gender in (None, token.gender) and not o.plural for o in others)
    begins = i > 0 and (tokens[i - 1].kind in ("comma", "stop") or [t.kind for t in tokens[max(0, i - 2) : i]] == ["comma", "joiner"])
    return begins and token.gender is not None and any(o.gender == token.gender and not o.plural for o in others)


def _is_place_of(tokens: list[Entry], i: int) -> bool:
    """ "behind him", "next to her", but not "in front of her red car"."""
    following = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    is_object = tokens[i].text == "him" or (tokens[i].text == "her" and following not in NOUNS | MODIFIERS | {"word", "person"})
    return is_object and i > 0 and tokens[i - 1].kind == "place"


def _is_object(tokens: list[Entry], i: int) -> bool:
    """ "beside a man who wears | her hat", "beside a man carrying | her bag", "holding the | girl's hat"; but
    "beside a man, carrying her bag"."""
    i -= i > 0 and tokens[i - 1].kind == "det"
    if i < 2 or tokens[i - 1].kind not in ("hold", "wear"):
        return False
    return tokens[i - 2].kind in ("relative", "det") or (tokens[i - 1].kind == "hold" and tokens[i - 2].kind != "comma")


def _is_named(noun: str, tokens: list[Entry], mentions: list[Mention]) -> bool:
    return any(tokens[mention.first].text == noun for mention in mentions)


def _returns(tokens: list[Entry], i: int, main: Mention, others: list[Mention]) -> bool:
    """A pronoun that fits only the main subject, or a word for all of them."""
    token = tokens[i]
    if token.kind == "both" or (token.kind == "pronoun" and token.text == "they"):
        return True
    following = tokens[i + 1] if i + 1 < len(tokens) else _NOTHING
    if token.kind == "all" and following.kind in _SAYS_LOOK:
        return True
    if token.text == "while" and following.kind in ("wear", "hold", "verb"):
        return True  # "a man passes a woman while holding a bag"
    if token.kind == "comma":
        return following.text == "is" or following.text in spelt("finite")  # "a man, beside a woman in red, wears a hat"
    if token.kind != "pronoun":
        return False
    if token.item:
        return token.item == tokens[main.first].text and not _is_named(token.item, tokens, others) and not _is_object(tokens, i)
    if token.gender is None or _is_place_of(tokens, i) or _is_object(tokens, i):
        return False
    if main.gender is None:
        return all(o.plural for o in others)
    if token.gender != main.gender:
        return False
    after_while = i > 0 and tokens[i - 1].text == "while"
    return after_while or all(o.plural or (o.gender is not None and o.gender != token.gender) for o in others)
