"""What a vision-language model says around the sentence it was asked for: thoughts, a preamble, lists, sentences that it did not finish."""

import re

from generation.caption_gate import names_clothing
from generation.json_replies import json_reply

_THOUGHTS = re.compile(r"<think>.*", re.DOTALL)
_KEY = re.compile(r"[{\[\s]*[\"'][^\"'\n]{1,80}[\"']\s?:")  # "caption": ...
_SIGNS = re.compile(r"(?:[-*•>_{\"\s]+|\d+[.)]\s)\s*")  # of a list, a quotation
_MARKUP = re.compile(r"\*\*|</?\w+>")
_POLITENESS = re.compile(r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|great)[,.!]\s*", re.IGNORECASE)
_NAMED = r"(?:descriptions?|sentences?|captions?|answers?|options?|outputs?|responses?)\b"
_HERE = (  # or an offer. Bounded, as all that follows: a model in a loop says it hundreds of times. Not: "Here is a man"
    r"(?:[^:.!]{0,120}?\bhere(?:['’]s| is| are)\b(?:(?!\b(?:wearing|with)\b)[^,:.!]){0,120}?\b(?:describ(?:es|ing)\b|" + _NAMED + ")"
    r"|(?:let me|let['’]s|i['’](?:d|ll)|i will|i can help|happy to|glad to)\b)"
)
_TITLE = r"(?:(?!(?:with|cannot|not)\b)[\w-]+(?:['’]s)?\s){0,3}" + _NAMED  # not: "A shirt with the caption", "I cannot provide captions"
_OF_WHAT = r"(?:\s\d+)?(?:\s\([^)]{0,40}\))?(?:\s(?:of|for|about|describ(?:es|ing))\b[^,:.!]{0,120}?)?(?:\s(?:is|are)(?:\sas follows)?)?"
_COLON = r"[*_]*:[*_]*(?:\s+|$)"
_LABEL = re.compile(rf"(?P<by>{_HERE})[^:.!]{{0,120}}{_COLON}|(?P<title>{_TITLE}){_OF_WHAT}(?:{_COLON}|\s[-–—]\s)", re.IGNORECASE)
_ANNOUNCEMENT = re.compile(  # a sentence with another behind it, or all of the line
    rf"{_HERE}[^,:.!]{{0,120}}[.!]\s+(?=\S)|(?:{_HERE}[^:.!]{{0,120}}|{_TITLE}{_OF_WHAT})[.!]?$", re.IGNORECASE
)
_ANY_CLOTHES = re.compile(r"\b(?:clothes|clothing|outfits?|attire)\b", re.IGNORECASE)  # which an announcement may name; a coat it does not
_FEWEST_WORDS = 4  # not "Here you go!", "Person", "```json"
_SENTENCE_END = re.compile(  # its mark is the group; abbreviations and initials are passed over
    r"\b(?:(?i:(?:mr|mrs|ms|dr|st|jr|sr|prof|nos?|vs|approx)\.|[a-z]\.(?:\s?[a-z]\.)+)|etc\.(?=\s+[a-z]))"
    r"|(?<!\.)([.!?])(?=[\"'”’]?(?:\s+[\"'“‘A-Z]|\s*$)|\s+\S)"
)


def without_thoughts(text: str) -> str:
    """What follows <think>...</think>. Chat templates may open the thoughts themselves; a text that ends within them has no answer."""
    return _THOUGHTS.sub("", text.rpartition("</think>")[2])


def one_sentence(text: str) -> str:
    """The first line that is no preamble, without quotation marks, list signs and bold print; spaces made single.

    Of JSON, the string that is called a caption, else what is said before it. Where all lines look like a preamble: the first of them.
    """
    lines = [plain for line, _ in _said(text) if (plain := _plain(line))]
    return next(filter(_is_caption, lines), lines[0] if lines else "")


def finished(text: str) -> str | None:
    """one_sentence of a text that was cut off, as far as it stands there in whole sentences; None if it ends in the first of them."""
    for said, is_whole in _said(text):
        line = _plain(said)
        ends = [end.end() for end in _SENTENCE_END.finditer(line) if end[1] and not is_whole]
        if ends or (is_whole and _is_caption(line)):
            return line[: ends[-1]] if ends else line
    return None


def _said(text: str) -> list[tuple[str, bool]]:
    """(line, whether it cannot be cut off), without thoughts and the signs of JSON, the likeliest caption first."""
    text = without_thoughts(text)
    reply = json_reply(text)
    if reply is None:
        return _by_line(text, is_whole=False)
    named, others = ([_by_line(s.text, s.is_whole) for s in reply.strings if s.is_named == is_named] for is_named in (True, False))
    around = _by_line(reply.before, is_whole=True), _by_line(reply.behind, is_whole=False)
    return [line for lines in (*named, *around, *others) for line in lines]


def _by_line(text: str, is_whole: bool) -> list[tuple[str, bool]]:
    """is_whole: of the last line; the others are."""
    lines = text.strip().splitlines()
    return [(line, is_whole or i < len(lines)) for i, line in enumerate(lines, 1)]


def _is_caption(line: str) -> bool:
    return len(line.split()) >= _FEWEST_WORDS and _announced(line) < len(line)


def _plain(line: str) -> str:
    """Empty for a heading, for a line that only announces the next one, and for JSON that nobody could read."""
    line = " ".join(line.split())
    if line.rstrip("*_").endswith(":") or line.startswith("#") or _KEY.match(line):
        return ""
    line = _after(_POLITENESS, _after(_SIGNS, _MARKUP.sub("", line)))
    end = _announced(line)
    return (line[end:] if end < len(line) else line).strip("\"'“”‘’*_, {}")


def _announced(line: str) -> int:
    """How many characters of the line only announce a caption. What names a garment before any colon is the caption itself."""
    if label := _LABEL.match(line):
        return 0 if _names_garment(label["by"] or label["title"]) else label.end()
    found = _ANNOUNCEMENT.match(line)
    return found.end() if found and not _names_garment(found[0]) else 0


def _names_garment(text: str) -> bool:
    return names_clothing(_ANY_CLOTHES.sub("", text))


def _after(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.match(text)
    return text[found.end() :] if found else text
