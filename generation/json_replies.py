"""Replies of vision-language models that are JSON, or nearly: quotation marks left as they are, single ones or none, no braces, cut off."""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

_KEY = r"[\w -]{1,40}"
_STARTS = (  # not: a shirt with ["LOVE"] on it, one that reads: ["LOVE"]
    rf"\{{\s?([\"']){_KEY}\1\s?:",
    rf"(?:^|:\s?)\{{\s?{_KEY}:\s?[\"'\[{{]",
    r"^(?:```\w*\s?)?\[\s?[\"'\[{]",
    rf"^([\"']){_KEY}\2\s?:\s?[\"'\[{{]",
)
_START = re.compile("|".join(_STARTS), re.MULTILINE)
_ENDS = rf"(?=\s?(?:[}}\]]|```|,\s?(?:[\"'\[{{]|{_KEY}:)|,?\s?$))"  # what follows a quotation mark that ends a string
_STRING = re.compile(
    rf"(?:^|[{{\[,]\s?)(?:(?P<k>[\"']?)(?P<key>{_KEY}?)(?P=k)\s?:\s?\[?\s?|(?![\"']{_KEY}[\"']\s?:))"
    rf"(?P<quote>[\"'])(?P<string>(?:\\.|(?!(?P=quote){_ENDS})[^\\])*)(?P<end>(?P=quote))?",
    re.DOTALL | re.MULTILINE,
)
_LINE_IN_SENTENCE = re.compile(r"(?<![.!?\"'])\n")
_NAMES = ("caption", "sentence", "descri", "answer", "output", "response")  # of the string that was asked for, the likeliest first


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
    text = "\n".join(" ".join(line.split()) for line in text.splitlines() if not line.isspace())
    found = _START.search(text)
    if found is None:
        return None
    before, rest = text[: found.start()], text[found.start() :].lstrip(": ")
    strings, end = _strings(rest)
    return JsonReply(before, sorted(strings, key=lambda said: said.rank), rest[end:])


def _strings(text: str) -> tuple[list[Said], int]:
    """With the place where they end."""
    if text[0] in "{[":
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(text)
            return [*_values("", value)], end
        except (ValueError, RecursionError):
            pass
    found = [*_STRING.finditer(text)]
    return [_said(one["key"] or "", _decoded(one["string"]), one["end"] is not None) for one in found], found[-1].end() if found else 0


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


def _decoded(string: str) -> str:
    try:
        return str(json.loads(f'"{string}"', strict=False))
    except ValueError:
        return string
