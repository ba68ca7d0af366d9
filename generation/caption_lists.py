"""The JSON caption lists of person retrieval: raw (CUHK-PEDES, ICFG-PEDES, RSTPReid) and processed (APTM, IRRA and others).

Read by the prompt sources and by `check-leak`. Layouts, told apart by their fields:
    raw        [{"split": "train", "captions": [text, ...], ...}]            all splits in one file (reid_raw.json, ICFG-PEDES.json,
                                                                             data_captions.json)
    processed  [{"image": path, "caption": text or [text, ...], ...}]        one split a file: training lists hold a text a record,
                                                                             validation and test lists a list of texts
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import half_character

SPLITS = ("train", "val", "test")
EVALUATION_SPLITS = ("val", "test")
_BY_LINES = (
    "for one JSON object a line (.jsonl) set prompts.kind=table, for one sentence a line prompts.kind=text, "
    "for files of several kinds prompts.kind=auto"
)
_SPLIT_IN_NAME = re.compile(r"(?:^|[^a-z])(train|val|test)(?:$|[^a-z])")


class Captions(NamedTuple):
    """texts: of the splits that were asked for."""

    texts: list[str]
    num_of_other_splits: int = 0


def read_caption_list(path: Path, splits: Sequence[str]) -> Captions:
    """Captions of the records that belong to one of `splits`, in file order, spaces made single.

    Raises ContractError naming file and record for another structure, and if no caption belongs to the splits.
    """
    records = _records(path)
    return _processed(records, path, splits) if _is_processed(records) else _raw(records, path, splits)


def read_evaluation_captions(path: Path) -> list[str]:
    """What must not be trained on: val and test records of a raw list, every record of a processed one (it was named for this)."""
    records = _records(path)
    return (_processed(records, path, SPLITS) if _is_processed(records) else _raw(records, path, EVALUATION_SPLITS)).texts


def refuse_half_characters(text: str, where: str) -> str:
    """The text. Raises ContractError for half a character: no file or table of ours can hold it."""
    if (place := half_character(text)) is not None:
        raise ContractError(
            f"{where}: character {place + 1} of {text!r:.80} is half of a surrogate pair; write the whole character, or leave it out"
        )
    return text


def _is_processed(records: list[Any]) -> bool:
    return bool(records) and isinstance(records[0], dict) and "captions" not in records[0] and "caption" in records[0]


def _raw(records: list[Any], path: Path, splits: Sequence[str]) -> Captions:
    captions: list[str] = []
    found, num_others = set(), 0
    for number, record in enumerate(records):
        texts = _clean(_raw_captions(record, f"{path}, record {number}"))
        found.add(record["split"])
        if record["split"] in splits:
            captions += texts
        else:
            num_others += len(texts)
    if not captions:
        raise ContractError(
            f"{path} holds no caption of prompts.splits={list(splits)}; its records have {', '.join(sorted(found)) or 'none'}"
        )
    return Captions(captions, num_others)


def _records(path: Path) -> list[Any]:
    try:
        records = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as err:
        raise ContractError(f"{path} cannot be read ({err.strerror}); give the path of an existing file") from err
    except ValueError as err:
        raise ContractError(f"{path} is not JSON ({err}); {_BY_LINES}") from err
    if not isinstance(records, list):
        raise ContractError(
            f"{path} holds a {type(records).__name__}; accepted: a list of records with `captions` and `split`, "
            f"or with `image` and `caption`; {_BY_LINES}"
        )
    return records


def _processed(records: list[Any], path: Path, splits: Sequence[str]) -> Captions:
    texts = [_processed_captions(record, f"{path}, record {number}") for number, record in enumerate(records)]
    split = split_of_processed(path, isinstance(records[0]["caption"], list))
    if split not in splits:
        raise ContractError(
            f"{path} is a processed {split} list, and prompts.splits={list(splits)}: captions of {split} must not become prompts; "
            "give the training list, or name the split in prompts.splits if that is what you want"
        )
    return Captions([text for captions in texts for text in _clean(captions)])


def split_of_processed(path: Path, has_lists: bool) -> str:
    """Processed lists do not say their split: the file's name does (cuhk_test.json), else its form (several captions a record: test).

    A name that says train with records in the form of a test list is believed to be a test list: the safe side.
    """
    named = _SPLIT_IN_NAME.search(path.stem.lower())
    split = named[1] if named else ("test" if has_lists else "train")
    return "test" if split == "train" and has_lists else split


def _processed_captions(record: Any, where: str) -> list[str]:
    caption = record.get("caption") if isinstance(record, dict) else None
    captions = [caption] if isinstance(caption, str) else caption
    if not isinstance(captions, list) or not all(isinstance(text, str) for text in captions):
        raise ContractError(f"{where}: `caption`={caption!r}; accepted: text, or a list of text")
    return [refuse_half_characters(text, where) for text in captions]


def _raw_captions(record: Any, where: str) -> list[str]:
    if not isinstance(record, dict) or not isinstance(record.get("split"), str):
        raise ContractError(f"{where}: `split` is missing; accepted: a record with `captions` (list of text) and `split` (text)")
    captions = record.get("captions")
    if not isinstance(captions, list) or not all(isinstance(caption, str) for caption in captions):
        raise ContractError(f"{where}: `captions`={captions!r}; accepted: a list of text")
    return [refuse_half_characters(text, where) for text in captions]


def _clean(captions: Sequence[str]) -> list[str]:
    return [text for caption in captions if (text := " ".join(caption.split()))]
