"""Prompts from files: plain text, caption lists (JSON), and tables (JSON Lines, Parquet) whose rows may name their source and licence."""

import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from generation.caption_lists import read_caption_list, refuse_half_characters
from pipeline.contracts.errors import ContractError

TEXT_COLUMNS = ("prompt", "caption", "text")  # of a table, in order of preference
KINDS = ("text", "json", "table")
_WORDS = re.compile(r"[^\W_]+")
ASCII_WORDS = bytes(ord(chr(c).lower()) if chr(c).isalnum() else ord(" ") for c in range(128)) + bytes(128)
_BLOCK_BYTES = 1 << 20
_TABLES = "one object a line (.jsonl), or .parquet; prompts.kind=text takes one sentence a line, prompts.kind=auto files of several kinds"
_JSON_START = re.compile(r"""\[\s*($|[{\["])|\{\s*($|")""")


@dataclass(frozen=True, slots=True)
class PromptText:
    """One prompt and where it comes from. source, licence: None where the file does not say."""

    text: str
    source: str | None = None
    licence: str | None = None


class FilePrompts(NamedTuple):
    """The prompts of one file, in its order."""

    prompts: list[PromptText]
    num_of_other_splits: int = 0  # captions that were left out


def read_prompts(path: Path, kind: str, splits: Sequence[str]) -> FilePrompts:
    """All prompts of one file. kind: one of KINDS. Raises ContractError for what cannot be read as this kind."""
    if kind == "text":
        return FilePrompts([PromptText(text) for text in read_text_prompts(path)])
    if kind == "json":
        captions = read_caption_list(path, splits)
        return FilePrompts([PromptText(text) for text in captions.texts], captions.num_of_other_splits)
    return FilePrompts(read_table_prompts(path))


def read_texts(path: Path, kind: str, splits: Sequence[str]) -> Iterable[str]:
    """The texts of read_prompts, without what else a row says."""
    return text_lines(path) if kind == "text" else (prompt.text for prompt in read_prompts(path, kind, splits).prompts)


def read_text_prompts(path: Path) -> list[str]:
    """All of text_lines."""
    return list(text_lines(path))


def text_lines(path: Path) -> Iterator[str]:
    """One prompt a line; empty lines are skipped.

    Raises ContractError: no file, not UTF-8 (naming line and byte), no prompt in it, or a caption list: taken line by line it would make
    prompts of brackets, file names, and test captions.
    """
    is_empty = True
    for text in texts_of_lines(_lines(path), path):
        is_empty = False
        yield text
    if is_empty:
        raise no_prompt(path)


def texts_of_lines(lines: Iterable[bytes], path: Path, first: int = 1, is_empty: bool = True) -> Iterator[str]:
    """Of lines that begin with number `first`. is_empty: no text stands before them."""
    for number, line in enumerate(lines, first):
        text = _decode(line, path, number).strip()
        if is_empty and begins_json(text):
            raise ContractError(
                f"{path}, line {number}: {text[:40]!r} looks like JSON, not a sentence; set prompts.kind=json for the caption lists of "
                "data sets, prompts.kind=table for .jsonl, prompts.kind=auto for files of several kinds"
            )
        if text:
            is_empty = False
            yield text


def begins_json(text: str) -> bool:
    """A list or an object, and no sentence in brackets: the first line of a caption list or of JSON Lines."""
    return _JSON_START.match(text) is not None


def no_prompt(path: Path) -> ContractError:
    return ContractError(f"{path} holds no prompt; put one sentence on each line")


def read_table_prompts(path: Path) -> list[PromptText]:
    """Rows of a .parquet or .jsonl file: a text column (TEXT_COLUMNS), and `source` and `licence` (or `license`) where present."""
    rows = _parquet_rows(path) if path.suffix == ".parquet" else _json_lines(path)
    prompts = []
    for number, row in enumerate(rows, 1):
        name = next((column for column in TEXT_COLUMNS if column in row), None)
        if name is None or not isinstance(row[name], str):
            raise ContractError(f"{path}, row {number}: no text in any of {', '.join(TEXT_COLUMNS)}; it has {', '.join(map(str, row))}")
        if text := " ".join(row[name].split()):
            said = text, _optional(row.get("source")), _optional(row.get("licence", row.get("license")))
            refuse_half_characters(" ".join(filter(None, said)), f"{path}, row {number}")
            prompts.append(PromptText(*said))
    if not prompts:
        raise ContractError(f"{path} holds no prompt; accepted: rows with a column {' or '.join(TEXT_COLUMNS)}")
    return prompts


def unrepeated(prompts: Iterable[PromptText]) -> list[PromptText]:
    """The first of all prompts that differ in case, spacing or punctuation only."""
    first: dict[str, PromptText] = {}
    for prompt in prompts:
        first.setdefault(normalised(prompt.text), prompt)
    return list(first.values())


def normalised(text: str) -> str:
    """Lower case, letters and digits of any script, single spaces: what two copies of a sentence share."""
    if text.isascii():  # nearly every prompt of millions: six times as fast
        return b" ".join(text.encode().translate(ASCII_WORDS).split()).decode()
    return " ".join(_WORDS.findall(text.lower()))


def _optional(value: Any) -> str | None:
    return None if value is None else str(value)


def _parquet_rows(path: Path) -> list[dict[str, Any]]:
    from pipeline.tables import column_names, read_rows

    wanted = [c for c in column_names(path) if c in (*TEXT_COLUMNS, "source", "licence", "license")]
    if not set(wanted) & set(TEXT_COLUMNS):
        raise ContractError(f"{path} has columns {', '.join(column_names(path))}; accepted: one of {', '.join(TEXT_COLUMNS)}")
    return read_rows(path, wanted)


def _json_lines(path: Path) -> Iterable[dict[str, Any]]:
    for number, line in enumerate(_lines(path), 1):
        text = _decode(line, path, number).strip()
        if not text:
            continue
        try:
            row = json.loads(text)
        except ValueError as err:
            raise ContractError(f"{path}, line {number}: not JSON ({err}); accepted: {_TABLES}") from err
        if not isinstance(row, dict):
            raise ContractError(f"{path}, line {number}: a {type(row).__name__}; accepted: an object with {' or '.join(TEXT_COLUMNS)}")
        yield row


def _lines(path: Path) -> Iterator[bytes]:
    """One after the other: files have millions."""
    with _opened(path) as file:
        yield from file


def line_blocks(path: Path) -> Iterator[bytes]:
    """Whole lines, a megabyte at a time."""
    with _opened(path) as file:
        while block := file.read(_BLOCK_BYTES) + file.readline():
            yield block


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb") as file:
            yield file
    except OSError as err:
        raise ContractError(f"{path} cannot be read ({err.strerror}); give the path of an existing file") from err


def _decode(data: bytes, path: Path, line: int) -> str:
    if b"\0" in data:
        raise ContractError(
            f"{path}, line {line}, byte {data.index(0) + 1}: 0x00 is no text; save the file as UTF-8 (UTF-16 has such bytes)"
        )
    try:
        return data.removeprefix(BOM_UTF8).decode()  # a byte order mark is no part of the first prompt
    except UnicodeDecodeError as err:
        raise ContractError(
            f"{path}, line {line}, byte {err.start + 1}: 0x{data[err.start]:02x} is not UTF-8; "
            "save the file as UTF-8 (iconv -f latin1 -t utf-8)"
        ) from err
