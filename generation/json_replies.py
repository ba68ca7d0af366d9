"""Replies of vision-language models that are JSON, or nearly: quotation marks left as they are, single ones or none, no braces, cut off."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import json_repair

_KEY = r"(?:\"[^\"\n{}]{1,80}\"|'[^'\n{}]{1,80}'|“[^”\n{}]{1,80}”|\w[\w -]{0,40})\s?:"
_OPENS = re.compile(rf"(?P<object>\{{)\s*{_KEY}|^(?:```\w*\s*)?(?:(?P<list>\[)\s*[\"'“\[{{]|(?P<bare>(?!\w){_KEY}))", re.MULTILINE)
_CLOSING = {"object": "}", "list": "]", "bare": "}"}
_APOSTROPHE = re.compile(r"(?<=\w)'(?=\w)|(?<=s)'(?=\.| [a-z])")  # man's, boys'
_HELD = "\ue000"  # for private use: stands for an apostrophe, which the library takes for the end of what ' began
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
    """None where there is no JSON, or a sentence quotes some: words go on behind its last bracket, and no string is called a caption."""
    opens = _OPENS.search(text)
    if opens is None:
        return None
    kind = str(opens.lastgroup)
    start = opens.start(kind)
    strings = [*_values("", _repaired("{" * (kind == "bare") + text[start:]))]
    if not strings:
        return None
    is_cut = text.rstrip().endswith(strings[-1].text.split()[-1])
    closes = text.rfind(_CLOSING[kind], start)
    behind = "" if is_cut or closes < 0 else text[closes + 1 :]
    if any(map(str.isalpha, behind.partition("\n")[0])) and not any(said.is_named for said in strings):
        return None
    strings[-1] = strings[-1]._replace(is_whole=not is_cut)
    return JsonReply(text[:start], sorted(strings, key=lambda said: said.rank), behind)


def _repaired(text: str) -> Any:
    try:
        return json_repair.loads(_APOSTROPHE.sub(_HELD, text))
    except (ValueError, RecursionError):
        return None


def _values(key: str, value: Any) -> Iterator[Said]:
    """Its strings but for keys and empty ones."""
    if isinstance(value, str) and value.strip():
        yield _said(key, value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _values(name, inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _values(key, inner)


def _said(key: str, text: str) -> Said:
    rank = next((i for i, name in enumerate(_NAMES) if name in key.lower()), len(_NAMES))
    text = text.replace(_HELD, "'").encode("utf-8", "replace").decode()  # half an emoji can be written nowhere
    return Said(rank, _LINE_IN_SENTENCE.sub(" ", text), is_whole=True)
