"""Prompts from files: plain text, and the caption lists of CUHK-PEDES and ICFG-PEDES."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ContractError


def read_text_prompts(path: Path) -> list[str]:
    """One prompt a line; empty lines are skipped. Raises ContractError: no file, not UTF-8 (naming line and byte), no prompt in it."""
    prompts = []
    for number, line in enumerate(_read(path).split(b"\n"), 1):
        text = _decode(line, path, number).strip()
        if text:
            prompts.append(text)
    if not prompts:
        raise ContractError(f"{path} holds no prompt; put one sentence on each line")
    return prompts


def read_json_prompts(path: Path, splits: Sequence[str]) -> list[str]:
    """Captions of the records whose `split` is one of `splits`, in file order, each text once.

    The file is a JSON list of records with `captions` (list of text) and `split`: reid_raw.json of CUHK-PEDES, ICFG-PEDES.json. Raises
    ContractError naming the record for another structure, and if no record belongs to the splits.
    """
    try:
        records = json.loads(_decode(_read(path), path, None))
    except ValueError as err:
        raise ContractError(f"{path} is not JSON ({err}); for one prompt a line set prompts.kind=text") from err
    if not isinstance(records, list):
        raise ContractError(f"{path} holds a {type(records).__name__}; accepted: a list of records with `captions` and `split`")
    prompts: dict[str, None] = {}  # an ordered set
    for number, record in enumerate(records):
        captions = _captions(record, f"{path}, record {number}")
        if record["split"] in splits:
            prompts |= dict.fromkeys(text for caption in captions if (text := " ".join(caption.split())))
    if not prompts:
        found = sorted({record["split"] for record in records})
        raise ContractError(f"{path} holds no caption of prompts.splits={list(splits)}; its records have {found}")
    return list(prompts)


def _captions(record: Any, where: str) -> list[str]:
    if not isinstance(record, dict) or not isinstance(record.get("split"), str):
        raise ContractError(f"{where}: `split` is missing; accepted: a record with `captions` (list of text) and `split` (text)")
    captions = record.get("captions")
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise ContractError(f"{where}: `captions`={captions!r}; accepted: a list of text")
    return captions


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as err:
        raise ContractError(f"prompts.file={path} cannot be read ({err.strerror}); give the path of an existing file") from err


def _decode(data: bytes, path: Path, line: int | None) -> str:
    try:
        return data.decode("utf-8-sig")  # a byte order mark is no part of the first prompt
    except UnicodeDecodeError as err:
        where = f"line {line}, byte {err.start + 1}" if line is not None else f"byte {err.start + 1}"
        raise ContractError(
            f"{path}, {where}: 0x{data[err.start]:02x} is not UTF-8; save the file as UTF-8 (iconv -f latin1 -t utf-8)"
        ) from err
