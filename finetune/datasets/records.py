"""What every data set becomes: one record per picture. Written by the readers beside this file, read by training, evaluation and
`passerby verify-data`."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ContractError

PEDESTRIAN, VEHICLE = "pedestrian", "vehicle"
KINDS = (PEDESTRIAN, VEHICLE)
SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One picture. `labels` follow the split's attribute space and are empty without one; -1 is not stated."""

    image: str  # path below the picture folder, with forward slashes
    identity: str  # pictures of one identity answer each other's captions
    captions: tuple[str, ...] = ()  # all that describe it; none where only attributes are known
    labels: tuple[int, ...] = ()
    kind: str = PEDESTRIAN


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The records of one split, in the order of their file."""

    name: str
    source: Path  # the annotation file
    images: Path  # picture folder
    records: tuple[Record, ...]
    space: AttributeSpace | None = None
    queries: tuple[str, ...] = ()  # texts that are not known to belong to a picture: the challenge's test split

    @property
    def num_captions(self) -> int:
        return sum(len(record.captions) for record in self.records) + len(self.queries)

    @property
    def num_identities(self) -> int:
        return len({record.identity for record in self.records})


def read_entries(path: Path) -> list[Mapping[str, Any]]:
    """A JSON file that holds a list of objects. Raises ContractError naming the entry (from 1) that is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as err:
        raise ContractError(f"{path} does not exist") from err
    except (ValueError, OSError) as err:
        raise ContractError(f"{path} is not readable JSON: {err}") from err
    if not isinstance(data, list) or not data:
        raise ContractError(f"{path} holds {'an empty list' if data == [] else f'a {type(data).__name__}'}; accepted: a list of objects")
    for number, entry in enumerate(data, start=1):
        if not isinstance(entry, Mapping):
            raise ContractError(f"{path}: entry {number} is a {type(entry).__name__}; accepted: an object")
    return data


def field(entry: Mapping[str, Any], name: str, kinds: type | tuple[type, ...], where: str) -> Any:
    """entry[name] if it is of one of `kinds` and not empty. Raises ContractError naming where, field and value."""
    value = entry.get(name)
    if value is None or not isinstance(value, kinds) or isinstance(value, bool) or value in ("", []):
        wanted = " or ".join(kind.__name__ for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))
        raise ContractError(f"{where}: field {name!r} is {value!r}; accepted: a {wanted} that is not empty")
    return value


def captions_of(value: Any, where: str) -> tuple[str, ...]:
    """A caption or a list of captions. Raises ContractError for anything else and for an empty one."""
    captions = (value,) if isinstance(value, str) else tuple(value)
    if bad := [caption for caption in captions if not isinstance(caption, str) or not caption.strip()]:
        raise ContractError(f"{where}: caption {bad[0]!r}; accepted: a text that is not empty")
    return captions


def safe_name(name: str, where: str) -> str:
    """A picture's path as it may be joined to a folder: relative, without "..". Raises ContractError for any other."""
    if name not in ("", ".", "..") and not set(name) & set("/\\\0"):
        return name  # most are; taking a path apart is slow
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ContractError(f"{where}: picture {name!r} would lie outside the picture folder; accepted: a path below it")
    return str(path)


def merge(records: Iterable[Record], where: Path) -> tuple[Record, ...]:
    """One record per picture: its captions in order of appearance, repeated ones too, and what any of its entries states of its labels.

    Raises ContractError if a picture of the file `where` has two identities or kinds, or two values of a label.
    """
    merged: dict[str, Record] = {}
    for record in records:
        known = merged.setdefault(record.image, record)
        if known is record:
            continue
        for name in ("identity", "kind"):
            if (one := getattr(known, name)) != (other := getattr(record, name)):
                raise ContractError(f"{where}: picture {record.image!r} is given with {name} {one!r} and {other!r}")
        labels = _joined(known, record, where)
        merged[record.image] = replace(known, captions=known.captions + record.captions, labels=labels)
    return tuple(merged.values())


def _joined(one: Record, other: Record, where: Path) -> tuple[int, ...]:
    if one.labels == other.labels:
        return one.labels
    pairs = list(zip(one.labels, other.labels, strict=True))
    if bad := [number for number, values in enumerate(pairs) if set(values) == {0, 1}]:
        raise ContractError(f"{where}: picture {one.image!r} is given with label {bad[0]} (counted from 0) as 0 and as 1; keep one of them")
    return tuple(max(values) for values in pairs)  # what is stated exceeds MISSING


def picture_folder(candidates: Sequence[Path], records: Sequence[Record]) -> Path:
    """The first folder that holds one of the first pictures, else the first of all: published archives differ in their root."""
    for folder in candidates:
        if any((folder / record.image).is_file() for record in records[:20]):
            return folder
    return candidates[0]
