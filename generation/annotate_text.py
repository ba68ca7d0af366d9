"""`annotate-text`: captions in a file or on standard input -> labels as JSONL, in chunks and, if asked, by several processes."""

import json
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from json.encoder import encode_basestring
from multiprocessing import get_context
from typing import Any, NamedTuple

from generation.annotate import labels_of
from generation.annotation.labels import Labels, named
from pipeline.contracts.attributes import MISSING, PERSON_27
from pipeline.contracts.errors import ContractError

CHUNK_LINES = 2000
_BYTE_ORDER_MARK = "\ufeff"
_decode = json.JSONDecoder().raw_decode


class Chunk(NamedTuple):
    """The answer to some lines: JSONL, and the labels of each caption if they are to be counted."""

    text: str
    labels: Sequence[Labels]


def annotate_lines(lines: Iterable[bytes], where: str, num_jobs: int = 1, with_labels: bool = False) -> Iterator[Chunk]:
    """Lines {"id", "labels": all 27 names -> 0, 1, -1}, one a caption and in the order of the captions, whatever the number of processes.

    A line is a caption, and its id the line number from 1 as text; or, if it begins with "{", JSON with `id` and `caption`. Empty lines are
    skipped. Raises ContractError naming the line for text that is not UTF-8 and for other JSON: a caption list would be one caption.
    """
    chunks = _chunks(iter(lines))
    if num_jobs == 1:
        yield from (annotate_chunk(chunk, first, where, with_labels) for first, chunk in chunks)
        return
    with ProcessPoolExecutor(num_jobs, mp_context=get_context("spawn")) as pool:
        waiting: deque[Future[Chunk]] = deque()
        for first, chunk in chunks:
            waiting.append(pool.submit(annotate_chunk, chunk, first, where, with_labels))
            if len(waiting) > 2 * num_jobs:  # no more of the input in memory
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _chunks(lines: Iterator[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first line, lines)."""
    first = 1
    while chunk := list(islice(lines, CHUNK_LINES)):
        yield first, chunk
        first += len(chunk)


def annotate_chunk(lines: Sequence[bytes], first: int, where: str, with_labels: bool) -> Chunk:
    """The answer to lines that begin with number `first`."""
    records = [record for number, raw in enumerate(lines, first) if (record := _record(raw, where, number)) is not None]
    labels = labels_of([caption for _, caption in records])
    answers = [f'{{"id": {identity}, "labels": {{{", ".join(parts)}}}}}\n' for (identity, _), parts in zip(records, labels, strict=True)]
    return Chunk("".join(answers), labels if with_labels else [])


def _record(raw: bytes, where: str, number: int) -> tuple[str, str] | None:
    """(id as JSON, caption) of a line; None: it is empty."""
    line = _text_of(raw, where, number)
    if line.startswith("{"):
        return _from_json(line, where, number)
    if line.startswith("[") and _is_of_list(line):
        raise ContractError(
            f"{where}, line {number}: {line[:40]!r} is of a JSON list, not a caption; accepted: one caption a line, or one object "
            '{"id": ..., "caption": ...} a line; write the captions of the list so'
        )
    return (f'"{number}"', line) if line else None


def _is_of_list(text: str) -> bool:
    """A whole list, or the beginning of one that goes on in the next line; not words in brackets, with or without quotation marks."""
    try:
        _, end = _decode(text)
    except json.JSONDecodeError as err:
        return err.pos == len(text) or text[1:].lstrip().startswith("{")  # of records even if the line is cut off
    except (ValueError, RecursionError):  # a number too long for Python, lists in lists in lists
        return True
    return text[end:].strip() in ("", ",")


def _text_of(raw: bytes, where: str, number: int) -> str:
    try:
        return raw.decode().removeprefix(_BYTE_ORDER_MARK).strip()
    except UnicodeDecodeError as err:
        raise ContractError(f"{where}, line {number}, byte {err.start + 1}: not UTF-8; save the file as UTF-8") from err


def _from_json(line: str, where: str, number: int) -> tuple[str, str]:
    try:
        record, end = _decode(line)
        if end < len(line):
            json.loads(line)  # says what is wrong with the rest
        identity = record.get("id")
        identity = encode_basestring(identity) if isinstance(identity, str) else json.dumps(identity, ensure_ascii=False)
    except (ValueError, RecursionError) as err:
        raise ContractError(
            f"{where}, line {number}: not JSON ({err}); accepted: a caption, or a JSON object with `id` and `caption`"
        ) from err
    if "id" not in record or not isinstance(record.get("caption"), str):
        raise ContractError(f"{where}, line {number}: `id` or `caption` is missing; accepted: a JSON object with `id` and `caption` (text)")
    return identity, record["caption"]


class Coverage:
    """How often each attribute is 0, 1, and not stated."""

    def __init__(self) -> None:
        self.num_captions = 0
        self._counts: dict[str, Counter[int]] = {name: Counter() for name in PERSON_27.names}

    def add(self, labels: Sequence[Labels]) -> None:
        """Labels of some captions."""
        self.num_captions += len(labels)
        for found, times in Counter(labels).items():
            for name, label in named(found).items():
                self._counts[name][label] += times

    def to_json(self) -> dict[str, Any]:
        """{"captions", "attributes": {name: {"0", "1", "not_stated"}}}."""
        rows = {name: {"0": c[0], "1": c[1], "not_stated": c[MISSING]} for name, c in self._counts.items()}
        return {"captions": self.num_captions, "attributes": rows}

    def to_lines(self) -> list[str]:
        """A table for people."""
        lines = [f"{'attribute':16}{'label 0':>10}{'label 1':>10}{'stated':>9}  {'0 means':38}1 means"]
        for attribute, c in zip(PERSON_27.attributes, self._counts.values(), strict=True):
            share = (c[0] + c[1]) / self.num_captions if self.num_captions else 0.0
            zero, one = attribute.meanings
            lines.append(f"{attribute.name:16}{c[0]:>10}{c[1]:>10}{share:>9.1%}  {zero:38}{one}")
        return lines
