"""A data set of one's own: `captions.csv`, `captions.tsv` or `captions.jsonl` in a folder, pictures in `images/` beside it.

Fields: image; caption (or, in JSONL, captions: a list); optional identity (pictures of one identity answer each other's captions; without
it a picture is its own), split (train, val or test; without it test) and kind (pedestrian or vehicle). Several lines may name one picture.
JSONL may also state labels, a list of 0, 1 and -1 (not stated) in the order of the attribute space in `attributes.json` beside it; lines of
one picture may each state some.
"""

import csv
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetune.datasets.records import KINDS, PEDESTRIAN, SPLITS, Record, Split, captions_of, field, merge, picture_folder, safe_name
from pipeline.contracts.attributes import MISSING, AttributeSpace
from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json

JSONL, ATTRIBUTES = "captions.jsonl", "attributes.json"
FILES = ("captions.csv", "captions.tsv", JSONL)
FIELDS = ("image", "caption", "captions", "identity", "split", "kind", "labels")


def read_own(root: Path, split: str) -> Split:
    """Raises ContractError naming the line that is not of the form, or if the split is empty."""
    path = annotation(root)
    space = _space(path.parent / ATTRIBUTES)
    records = _splits(path, space, _stamp(path)).get(split)
    if not records:
        raise ContractError(f"{path}: no line of the {split} split; its lines say their split in the field 'split' (default: test)")
    return Split(name=split, source=path, images=picture_folder([root / "images", root], records), records=records, space=space)


def splits_of(root: Path) -> tuple[str, ...]:
    """The splits that the file has, in the usual order."""
    path = annotation(root)
    found = _splits(path, _space(path.parent / ATTRIBUTES), _stamp(path))
    return tuple(split for split in SPLITS if split in found)


def annotation(root: Path) -> Path:
    """`root` itself may be the file."""
    for path in (root, *(root / name for name in FILES)):
        if path.is_file() and path.suffix in (".csv", ".tsv", ".jsonl"):
            return path
    raise ContractError(f"found none of {', '.join(FILES)} in {root}; put one there, with a header line image,caption,identity,split")


def _space(path: Path) -> AttributeSpace | None:
    return AttributeSpace.from_json(read_json(path), str(path)) if path.is_file() else None


@lru_cache(maxsize=1)
def _splits(path: Path, space: AttributeSpace | None, stamp: tuple[int, int]) -> dict[str, tuple[Record, ...]]:
    """Split -> its records, of the splits that there are. The file of the last call is kept: a training asks for train, val and test."""
    found: dict[str, list[Record]] = {}
    for split, record in _rows(path, space):
        found.setdefault(split, []).append(record)
    return {split: merge(records, path) for split, records in found.items()}


def forget() -> None:
    """Free the file that is kept; for a program that has read all it needs and goes on for long."""
    _splits.cache_clear()


def _stamp(path: Path) -> tuple[int, int]:
    """Another one when the file has changed."""
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size


def _rows(path: Path, space: AttributeSpace | None) -> Iterator[tuple[str, Record]]:
    labels: dict[tuple[int, ...], tuple[int, ...]] = {}  # equal ones are kept once
    for number, row in _jsonl(path) if path.suffix == ".jsonl" else _table(path):
        where = f"{path}: line {number}"
        if unknown := sorted(str(name) for name in set(row) - set(FIELDS)):
            raise ContractError(f"{where}: unknown fields {', '.join(unknown)}; accepted: {', '.join(FIELDS)}")
        image = safe_name(field(row, "image", str, where), where)
        captions = captions_of(field(row, "captions" if row.get("captions") not in (None, "") else "caption", (str, list), where), where)
        split, kind = row.get("split") or "test", row.get("kind") or PEDESTRIAN
        for name, value, accepted in (("split", split, SPLITS), ("kind", kind, KINDS)):
            if value not in accepted:
                raise ContractError(f"{where}: {name} {value!r}; accepted: {', '.join(accepted)}")
        identity = image if row.get("identity") in (None, "") else str(row["identity"])
        stated = _labels(row, space, where)
        yield split, Record(image=image, identity=identity, captions=captions, kind=kind, labels=labels.setdefault(stated, stated))


def _labels(row: Mapping[str, Any], space: AttributeSpace | None, where: str) -> tuple[int, ...]:
    """Without a statement, every attribute is not stated."""
    labels = row.get("labels") or [MISSING] * (len(space) if space else 0)
    if not isinstance(labels, list) or set(map(type, labels)) - {int, float} or set(labels) - {0, 1, MISSING}:
        raise ContractError(f"{where}: labels {str(labels)[:60]}; accepted: a list of 0, 1 and {MISSING} (not stated)")
    if len(labels) != (len(space) if space else 0):
        known = f"the {len(space)} attributes of {ATTRIBUTES}" if space else f"none without an {ATTRIBUTES} that names them"
        raise ContractError(f"{where}: {len(labels)} labels; accepted: {known}")
    return tuple(map(int, labels))  # pandas writes 1.0


def _table(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",", strict=True)
            for row in reader:
                if None in row or None in row.values():
                    raise ContractError(f"{path}: line {reader.line_num} has not {len(reader.fieldnames or ())} cells as the header has")
                yield reader.line_num, row
    except (csv.Error, UnicodeDecodeError) as err:
        raise ContractError(f"{path} is no readable table: {err}") from err


def _jsonl(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8-sig"))
            except ValueError as err:
                raise ContractError(f"{path}: line {number} is not JSON: {err}") from err
            if not isinstance(row, dict):
                raise ContractError(f"{path}: line {number} is a {type(row).__name__}; accepted: an object")
            yield number, row
