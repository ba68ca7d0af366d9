"""Is a caption usable? Pure text rules: no refusal, long enough, no loop, names a garment. Reasons to drop, or None."""

import re
from itertools import groupby
from operator import eq

from generation.annotation.tokens import tokenise
from generation.config import CaptionConfig

REASONS = ("caption_cut", "caption_refusal", "caption_short", "caption_loop", "caption_no_clothing", "invalid_answers")

_CANNOT = r"\b(?:i|we) (?:cannot|can['’]t|can not|could not|couldn['’]t|won['’]t|am not able to|don['’]t|do not) "
_REFUSAL = re.compile(  # of vision-language models; a caption does not speak of its writer
    r"\b(?:i['’]m|i am) (?:very |so |really )?(?:sorry|afraid|unable|not able|an ai)\b|^sorry\b|\bas an ai\b|"
    + _CANNOT
    + r"(?:assist|comply|describe|fulfil|fulfill|help|identify|provide|recognize|recognise)\b",
    re.IGNORECASE,
)
_HIDDEN = re.compile(  # what is not to be seen, up to the clause that says what is: a garment within it is worn by nobody
    _CANNOT
    + r"(?:determine|discern|make out|see|tell|view)\b"
    + r"[^.;]*?(?=[.;]|$|\b(?:but|though|although|however)\b"
    + r"|,\s(?:is|wears|the\s(?:boy|girl|man|person|woman))\b|(?:,|\band)\s(?:he|she|they)\b)",
    re.IGNORECASE,
)

_WORD = re.compile(r"\w+")
_JOINERS = frozenset(("a", "an", "the", "and", "or", "with"))  # stand between the repeats of a loop, in some of them or in all


def caption_reason(caption: str, config: CaptionConfig) -> str | None:
    """One of REASONS, or None if the caption may stay."""
    words = caption.lower().split()
    if _REFUSAL.search(caption) or (_HIDDEN.search(caption) and not names_clothing(_HIDDEN.sub("", caption))):
        return "caption_refusal"
    if len(words) < config.min_words:
        return "caption_short"
    if is_loop(caption, config):
        return "caption_loop"
    if config.require_clothing and not names_clothing(caption):
        return "caption_no_clothing"
    return None


def is_loop(caption: str, config: CaptionConfig) -> bool:
    """A stretch of words comes too often in a row, whatever joiners and punctuation stand between.

    Up to max_loop_words words may come max_loop_repeats times ("a hat and a hat"), more words once less: nobody says the same five twice.
    """
    words = telling_words(caption)
    short = range(1, config.max_loop_words + 1)
    long = range(config.max_loop_words + 1, len(words) // 2 + 1)
    fewer = max(config.max_loop_repeats - 1, 1)
    return most_repeats(words, short) > config.max_loop_repeats or most_repeats(words, long) > fewer


def telling_words(caption: str) -> list[str]:
    """Lower-case words without joiners; "a a a a" stays, which is a loop of its own."""
    words = _WORD.findall(caption.lower())
    neighbours = zip(["", *words], words, [*words[1:], ""], strict=False)
    return [word for before, word, after in neighbours if word not in _JOINERS or word in (before, after)]


def most_repeats(words: list[str], lengths: range) -> int:
    """How often in a row a stretch of so many words stands at most: 1 without repeats, 3 for "hat on hat on hat on"."""
    longest = 0
    for length in lengths:
        same = list(map(eq, words, words[length:]))  # as the word `length` later
        if sum(same) >= length:  # else no whole stretch comes again
            longest = max(longest, *(sum(group) // length for _, group in groupby(same)))
    return 1 + longest


def names_clothing(caption: str) -> bool:
    """True if a word of the caption is a garment of the annotation rules."""
    return any(token.kind == "garment" for token in tokenise(caption)[0])
