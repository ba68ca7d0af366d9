"""What a vision-language model says around the sentence it was asked for: thoughts, a preamble, lists, sentences that it did not finish."""

import re

_THOUGHTS = re.compile(r"<think>.*", re.DOTALL)
_SIGNS = re.compile(r"(?:[-*•>\s]+|\d+[.)]\s)\s*")  # of a list, or a quotation
_POLITENESS = re.compile(r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|great)[,.!]\s*", re.IGNORECASE)
_NAMED = r"(?:descriptions?|sentences?|captions?|answers?|options?)"
_ANNOUNCEMENT = re.compile(  # not: "Here is a man", "A shirt with the caption", "I cannot provide captions"
    r"(?:[^:.!]*?\bhere(?:['’]s| is| are)\b(?:(?!\b(?:wearing|with)\b)[^:.!])*\b(?:describ(?:es|ing)|" + _NAMED + r")"
    r"|(?:(?!(?:with|cannot|not)\b)[\w-]+\s){0,3}" + _NAMED + r")\b[^:.!]*",
    re.IGNORECASE,
)
_PREAMBLE_END = re.compile(r"(?::|[.!](?=\s+\S))(?:\s+|$)")  # what follows on the same line is the sentence
_OFFER = re.compile(r"(?:let me|let['’]s|i['’](?:d|ll)|i will|i can help|happy to|glad to)\b", re.IGNORECASE)
_FEWEST_WORDS = 4  # not "Here you go!", "Person", "```json"
_SENTENCE_END = re.compile(r"[.!?](?=[\"'”’]?(?:\s+[\"'“‘A-Z]|\s*$))")
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|st|jr|sr|prof|nos?|vs|approx|[a-z])\.$", re.IGNORECASE)


def without_thoughts(text: str) -> str:
    """What follows <think>...</think>. Chat templates may open the thoughts themselves; a text that ends within them has no answer."""
    return _THOUGHTS.sub("", text.rpartition("</think>")[2])


def one_sentence(text: str) -> str:
    """The first line that is no preamble, without quotation marks, list signs and bold print; spaces made single.

    Where all lines look like one: the first of them.
    """
    lines = _lines(text)
    return _first_caption(lines) or next(iter(lines), "")


def finished(text: str) -> str | None:
    """one_sentence of a text that was cut off, as far as it stands there in whole sentences; None if it ends in the first of them."""
    *before, last = without_thoughts(text).strip().splitlines() or [""]
    if sentence := _first_caption(_lines("\n".join(before))):
        return sentence
    last = _plain(last)
    ends = [end.end() for end in _SENTENCE_END.finditer(last) if not _ABBREVIATION.search(last, 0, end.end())]
    return last[: ends[-1]] if ends else None


def _first_caption(lines: list[str]) -> str:
    """Empty if there is none."""
    return next((s for s in lines if len(s.split()) >= _FEWEST_WORDS and not _ANNOUNCEMENT.match(s) and not _OFFER.match(s)), "")


def _lines(text: str) -> list[str]:
    return list(filter(None, map(_plain, without_thoughts(text).splitlines())))


def _plain(line: str) -> str:
    """Empty for a heading, and for a line that only announces the next one."""
    line = line.strip()
    if line.endswith(":") or line.startswith("#"):
        return ""
    line = _after(_POLITENESS, _after(_SIGNS, line.replace("**", "")))
    announcement = _ANNOUNCEMENT.match(line)
    end = announcement and _PREAMBLE_END.match(line, announcement.end())
    return " ".join((line[end.end() :] if end else line).strip("\"'“”‘’*_ ").split())


def _after(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return text[found.end() :] if found else text
