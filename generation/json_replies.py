"""Replies of vision-language models that are JSON, or nearly: quotation marks left as they are, single ones or none, no braces, cut off."""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

_QUOTED_KEY = r"(?:\"[^\"\n{}]{1,80}\"|'[^'\n{}]{1,80}')\s?:"
_PLAIN_KEY = r"\w[\w -]{0,40}:"
_AT_LINE = r"^(?:```\w*\s?)?"
_OPENS = re.compile(rf"\{{|{_AT_LINE}\[", re.MULTILINE)
_MOST_OPENS = 50  # looked at
# Not: a shirt that says {"code": "life"} on it, ["LOVE"] on a shirt: no words go on behind the last bracket of the line.
_NO_WORDS_BEHIND = r"(?![^\n]*\{0}[^\n\{0}]*[^\W\d_][^\n\{0}]*$)"
_NEARLY_OPENS = re.compile(
    rf"\{{\s?(?:{_QUOTED_KEY}|{_PLAIN_KEY}\s?[\"'\[{{]){_NO_WORDS_BEHIND.format('}')}"
    rf"|{_AT_LINE}\[\s?[\"'\[{{]{_NO_WORDS_BEHIND.format(']')}"
    rf"|^{_QUOTED_KEY}\s?[\"'\[{{]",
    re.MULTILINE,
)
_ENDS = rf"(?=\s?(?:[}}\]]|```|{_QUOTED_KEY}|,\s?(?:[\"'\[{{]|{_PLAIN_KEY})|,?\s?$))"  # what follows a quotation mark that ends a string
_STRING = re.compile(
    rf"(?:^|[{{\[,]\s?|(?<=[\"'])\s)(?:(?P<key>{_QUOTED_KEY}|{_PLAIN_KEY})\s?\[?\s?|(?!{_QUOTED_KEY}))"
    rf"(?:(?P<quote>[\"'])(?P<string>(?:\\.|(?!(?P=quote){_ENDS})[^\\])*)(?P<end>(?P=quote))?"
    r"|(?<=: )(?P<bare>[^\W\d_][^\n{}]*))",
    re.DOTALL | re.MULTILINE,
)
_STRAIGHT = str.maketrans("“”‘’", "\"\"''")
_LINE_IN_SENTENCE = re.compile(r"(?<![.!?\"'])\n")
_NAMES = (
    "caption",
    "sentence",
    "final",
    "descri",
    "answer",
    "result",
    "output",
    "response",
)  # of the string that was asked for, the likeliest first


class Said(NamedTuple):
    """One string of a reply. rank: of its key among _NAMES, len(_NAMES) for any other."""

    rank: int
    text: str
    is_whole: bool

    @property
    def is_named(self) -> bool:
        return self.rank < len(_NAMES)


class JsonReply(NamedTuple):
    """What is said before and behind the JSON, and its strings but for keys, those first whose keys name a caption."""

    before: str
    strings: list[Said]
    behind: str


def json_reply(text: str) -> JsonReply | None:
    """None where there is no JSON."""
    text = "\n".join(" ".join(line.split()) for line in text.translate(_STRAIGHT).splitlines() if not line.isspace())
    start, strings, end = _decoded_json(text) or _nearly_json(text) or (0, [], 0)
    return JsonReply(text[:start], sorted(strings, key=lambda said: said.rank), text[end:]) if strings else None


def _decoded_json(text: str) -> tuple[int, list[Said], int] | None:
    """Start, strings and end of the first JSON that may be an answer: one that names a caption, or behind which no words go on."""
    for opens in islice(_OPENS.finditer(text), _MOST_OPENS):
        start = opens.end() - 1
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        strings = [*_values("", value)]
        if any(said.is_named for said in strings) or not any(map(str.isalpha, text[end:].partition("\n")[0])):
            return start, strings, end
    return None


def _nearly_json(text: str) -> tuple[int, list[Said], int] | None:
    opens = _NEARLY_OPENS.search(text)
    if opens is None:
        return None
    found = [*_STRING.finditer(text, opens.start())]
    strings = [_said(one["key"] or "", _unescaped(one["string"] or one["bare"] or ""), one["end"] is not None) for one in found]
    return opens.start(), strings, found[-1].end() if found else len(text)


def _values(key: str, value: Any) -> Iterator[Said]:
    if isinstance(value, str):
        yield _said(key, value, True)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(key, inner)


def _said(key: str, text: str, is_whole: bool) -> Said:
    rank = next((i for i, name in enumerate(_NAMES) if name in key.lower()), len(_NAMES))
    text = text.encode("utf-8", "replace").decode()  # half an emoji can be written nowhere
    return Said(rank, _LINE_IN_SENTENCE.sub(" ", text), is_whole)


def _unescaped(string: str) -> str:
    try:
        return str(json.loads(f'"{string}"', strict=False))
    except ValueError:
        return string
