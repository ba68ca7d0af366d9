"""`annotate-text`: captions in a file or on standard input -> labels as JSONL."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import IO, Any

from generation.annotate import annotate
from pipeline.contracts.attributes import MISSING, PERSON_27
from pipeline.contracts.errors import ContractError


def annotate_lines(lines: IO[bytes], where: str) -> Iterator[dict[str, Any]]:
    """{"id", "labels": all 27 names -> 0, 1, -1} for every caption.

    A line is a caption, and its id the line number from 1 as text; or, if it begins with "{", JSON with `id` and `caption`. Empty lines are
    skipped. Raises ContractError naming the line for text that is not UTF-8 and for other JSON.
    """
    for number, raw in enumerate(lines, 1):
        try:
            line = raw.decode("utf-8-sig").strip()
        except UnicodeDecodeError as err:
            raise ContractError(f"{where}, line {number}, byte {err.start + 1}: not UTF-8; save the file as UTF-8") from err
        if line:
            identity, caption = _record(line, f"{where}, line {number}") if line.startswith("{") else (str(number), line)
            yield {"id": identity, "labels": annotate(caption)}


class Coverage:
    """How often each attribute is 0, 1, and not stated."""

    def __init__(self) -> None:
        self.num_captions = 0
        self._counts: dict[str, Counter[int]] = {name: Counter() for name in PERSON_27.names}

    def add(self, labels: Mapping[str, int]) -> None:
        self.num_captions += 1
        for name, counter in self._counts.items():
            counter[labels[name]] += 1

    def to_json(self) -> dict[str, Any]:
        """{"captions", "attributes": {name: {"0", "1", "not_stated"}}}."""
        rows = {name: {"0": c[0], "1": c[1], "not_stated": c[MISSING]} for name, c in self._counts.items()}
        return {"captions": self.num_captions, "attributes": rows}

    def to_lines(self) -> list[str]:
        """A table for people."""
        lines = [f"{'attribute':16}{'label 0':>10}{'label 1':>10}{'stated':>9}"]
        for name, c in self._counts.items():
            share = (c[0] + c[1]) / self.num_captions if self.num_captions else 0.0
            lines.append(f"{name:16}{c[0]:>10}{c[1]:>10}{share:>9.1%}")
        return lines


def _record(line: str, where: str) -> tuple[Any, str]:
    try:
        record = json.loads(line)
    except ValueError as err:
        raise ContractError(f"{where}: not JSON ({err}); accepted: a caption, or a JSON object with `id` and `caption`") from err
    if "id" not in record or not isinstance(record.get("caption"), str):
        raise ContractError(f"{where}: `id` or `caption` is missing; accepted: a JSON object with `id` and `caption` (text)")
    return record["id"], record["caption"]
