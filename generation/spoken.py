"""What a vision-language model says around the sentence it was asked for: thoughts, a preamble, lists, sentences that it did not finish."""

import re

_THOUGHTS = re.compile(r"<think>.*", re.DOTALL)
_PREAMBLE = re.compile(  # on the line of the sentence: "Sure! Here is the description: "
    r"(?:(?:sure|certainly|of course|absolutely|okay|ok)[,.!]\s*)?(?:here(?:['’]s| is| are)\b[^:]*:)?", re.IGNORECASE
)
_WHOLE_SENTENCES = re.compile(r".*[.!?][\"'”’]?(?=\s|$)")


def without_thoughts(text: str) -> str:
    """What follows <think>...</think>. Chat templates may open the thoughts themselves; a text that ends within them has no answer."""
    return _THOUGHTS.sub("", text.rpartition("</think>")[2])


def one_sentence(text: str) -> str:
    """The first line that is no preamble, without quotation marks, list signs and bold print; spaces made single."""
    return next(filter(None, map(_plain, _lines(text))), "")


def finished(text: str) -> str | None:
    """one_sentence of a text that was cut off, as far as it stands there in whole sentences; None if it ends in the first of them."""
    *before, last = _lines(text) or [""]
    if sentence := one_sentence("\n".join(before)):
        return sentence
    whole = _WHOLE_SENTENCES.match(_plain(last))
    return whole[0].rstrip("\"'”’") if whole else None


def _lines(text: str) -> list[str]:
    return [line for line in without_thoughts(text).splitlines() if line.strip()]


def _plain(line: str) -> str:
    """Empty for a line that only announces the next one."""
    line = line.strip()
    if line.endswith(":"):
        return ""
    line = line.replace("**", "").lstrip("-*• ")
    preamble = _PREAMBLE.match(line)
    return " ".join((line[preamble.end() :] if preamble else line).strip().strip("\"'“”").split())
