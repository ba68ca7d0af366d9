"""Is a caption usable? Pure text rules: no refusal, long enough, no loop, names a garment. Reasons to drop, or None."""

import re

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


def caption_reason(caption: str, config: CaptionConfig) -> str | None:
    """One of REASONS, or None if the caption may stay."""
    words = caption.lower().split()
    if _REFUSAL.search(caption) or (_HIDDEN.search(caption) and not names_clothing(_HIDDEN.sub("", caption))):
        return "caption_refusal"
    if len(words) < config.min_words:
        return "caption_short"
    if longest_loop(words, config.max_loop_words) > config.max_loop_repeats:
        return "caption_loop"
    if config.require_clothing and not names_clothing(caption):
        return "caption_no_clothing"
    return None


def longest_loop(words: list[str], max_words: int) -> int:
    """How often in a row a stretch of 1..max_words words stands at most: 1 without repeats, 3 for "a hat a hat a hat"."""
    longest = 1
    for period in range(1, max_words + 1):
        matching = 0
        for i in range(period, len(words)):
            matching = matching + 1 if words[i] == words[i - period] else 0
            longest = max(longest, 1 + matching // period)
    return longest


def names_clothing(caption: str) -> bool:
    """True if a word of the caption is a garment of the annotation rules."""
    return any(token.kind == "garment" for token in tokenise(caption)[0])
