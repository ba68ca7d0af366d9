"""What a vision-language model says around the sentence it was asked for: thoughts, a preamble, lists, sentences that it did not finish."""

import json
import re

from generation.caption_gate import names_clothing

_THOUGHTS = re.compile(r"<think>.*", re.DOTALL)
_JSON = re.compile(r"(?:^|:)\s*[{\[]\s*\"", re.MULTILINE)  # not: a shirt with ["LOVE"] on it
_JSON_STRING = re.compile(  # models leave quotation marks within it as they are; the last string may be cut off; a colon follows a key
    r"\"((?:[^\"\\]|\\.|\"(?!\s*(?:[:}\]]|,\s*\"|,?\s*$)))*)\"?(\s*:)?", re.DOTALL
)
_SIGNS = re.compile(r"(?:[-*•>_\"\s]+|\d+[.)]\s)\s*")  # of a list, a quotation
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

    Where all lines look like one: the first of them.
    """
    lines = _lines(_said(text))
    return _first_caption(lines) or next(iter(lines), "")


def finished(text: str) -> str | None:
    """one_sentence of a text that was cut off, as far as it stands there in whole sentences; None if it ends in the first of them."""
    *before, last = _said(text).strip().splitlines() or [""]
    if sentence := _first_caption(_lines("\n".join(before))):
        return sentence
    last = _plain(last)
    ends = [end.end() for end in _SENTENCE_END.finditer(last) if end[1]]
    return last[: ends[-1]] if ends else None


def _said(text: str) -> str:
    """Without thoughts; of JSON, which may be cut off, the strings that are no keys, as lines."""
    text = without_thoughts(text)
    if found := _JSON.search(text):
        return "\n".join(_decoded(string) for string, key in _JSON_STRING.findall(text, found.start()) if not key)
    return text


def _decoded(string: str) -> str:
    try:
        return str(json.loads(f'"{string}"', strict=False)).encode("utf-8", "replace").decode()  # half an emoji can be written nowhere
    except ValueError:
        return string


def _first_caption(lines: list[str]) -> str:
    """Empty if there is none."""
    return next((s for s in lines if len(s.split()) >= _FEWEST_WORDS and _announced(s) < len(s)), "")


def _lines(text: str) -> list[str]:
    return list(filter(None, map(_plain, text.splitlines())))


def _plain(line: str) -> str:
    """Empty for a heading, and for a line that only announces the next one."""
    line = " ".join(line.split())
    if line.rstrip("*_").endswith(":") or line.startswith("#"):
        return ""
    line = _after(_POLITENESS, _after(_SIGNS, _MARKUP.sub("", line)))
    end = _announced(line)
    return (line[end:] if end < len(line) else line).strip("\"'“”‘’*_, ")


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
