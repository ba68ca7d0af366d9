"""Which words of a caption belong to its main subject where several persons are named (guideline R4, R5).

Once another person has appeared, words belong to that one until the text returns to the first.
"""

import re
from functools import cache

from generation.annotation.lexicon import Entry
from generation.annotation.mentions import Mention
from generation.annotation.symbols import any_of


@cache
def _returns_at() -> re.Pattern[str]:
    return re.compile(any_of("person", "lifeless", "pronoun", "both", "all"))


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
                others_from = min(others_from, i)
        elif mention is main or (not is_main and main.start < i and _returns(tokens, i, main, others)):
            is_main = True
        if is_main is not was_main:
            owned += [was_main] * (i - len(owned))
    return owned + [is_main] * (len(tokens) - len(owned)), others_from


def _is_main_again(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention, others: list[Mention]) -> bool:
    if mention.is_figure or mention.start < main.start:
        return False
    before = tokens[mention.start - 1] if mention.start > 0 else None
    if before is not None and before.kind == "be":  # "a person that is a waiter"
        return not others
    if before is not None and before.item == "or" and mention.start == main.end + 1:
        return True
    if mention.determiner in ("the", "this", "that"):
        if _side(tokens, mention) not in ("", _side(tokens, main)):
            return False
        same_noun = tokens[mention.first].text == tokens[main.first].text
        unknown_so_far = not others and main.gender is None and not main.plural
        return (same_noun and all(tokens[o.first].text != tokens[main.first].text for o in others)) or unknown_so_far
    return mention.determiner != "another" and _is_loop(tokens, mentions, mention, main)


def _side(tokens: list[Entry], mention: Mention) -> str:
    """ "left" of "the man on the left"."""
    texts = [token.text for token in tokens[mention.end : mention.end + 3]]
    return texts[2] if texts[:2] == ["on", "the"] and texts[2:] in (["left"], ["right"]) else ""


def _is_loop(tokens: list[Entry], mentions: list[Mention], mention: Mention, main: Mention) -> bool:
    """The same words again, perhaps cut at the end of the caption."""
    if mention.text != main.text:
        return False
    first, again = _description(tokens, mentions, main), _description(tokens, mentions, mention)
    if first == again:
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


def _returns(tokens: list[Entry], i: int, main: Mention, others: list[Mention]) -> bool:
    """A pronoun that fits only the main subject, or a word for all of them."""
    token = tokens[i]
    if token.kind == "both" or (token.kind == "pronoun" and token.text == "they"):
        return True
    following = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    if token.kind == "all" and following in ("wear", "in", "hold", "be"):
        return True
    if token.kind != "pronoun" or token.gender is None or token.gender != main.gender:
        return False
    after_while = i > 0 and tokens[i - 1].text == "while"
    return after_while or all(o.plural or (o.gender is not None and o.gender != token.gender) for o in others)
