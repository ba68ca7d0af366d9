"""`annotate-text`: captions in a file or on standard input -> labels as JSONL."""

import json
from collections.abc import Iterator
from typing import IO, Any

from generation.annotate import annotate
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


def _record(line: str, where: str) -> tuple[Any, str]:
    try:
        record = json.loads(line)
    except ValueError as err:
        raise ContractError(f"{where}: not JSON ({err}); accepted: a caption, or a JSON object with `id` and `caption`") from err
    if "id" not in record or not isinstance(record.get("caption"), str):
        raise ContractError(f"{where}: `id` or `caption` is missing; accepted: a JSON object with `id` and `caption` (text)")
    return record["id"], record["caption"]
