"""What training reads: one line per caption of the train split."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.config import DataConfig
from finetune.datasets.catalog import data_set
from finetune.datasets.records import Record, Split
from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.challenge import VehicleTag, parse_tag
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import sha256_file
from pipeline.seeds import derive_seed

HOLD_OUT = "held out"  # name of the seed that draws identities where a data set has no validation split


@dataclass(frozen=True, slots=True)
class Line:
    """A picture and one caption; text is empty where only labels are known. key is unique among the lines."""

    key: str
    image: str
    text: str
    identity: str
    labels: tuple[int, ...]
    kind: str


def tag_of(line: Line, field: str) -> VehicleTag:
    """What a vehicle's identity says, as the challenge's do. Raises ConfigError naming the field of the config that asks for it."""
    try:
        return parse_tag(line.identity)
    except ContractError as err:
        raise ConfigError(f"{field} needs vehicles whose identity is a tag; {line.key}: {err}; leave the field out") from err


@dataclass(frozen=True, slots=True)
class TrainingLines:
    """source: the annotation file, digest: of it; pictures are told apart by their names."""

    folder: Path
    records: tuple[Line, ...]
    digest: str
    space: AttributeSpace | None
    source: Path

    @classmethod
    def read(cls, root: Path, data: DataConfig | None = None, hold_out: bool = True) -> "TrainingLines":
        """hold_out: see `train_split`. Raises ContractError for a bad annotation file, or if pictures that it names are missing."""
        chosen = data or DataConfig(folder=str(root))
        split = only_kinds(train_split(chosen, hold_out), chosen.kinds)
        lines = lines_of(split.records)
        check_files(split.images, [line.image for line in lines], split.source)
        return cls(split.images, lines, sha256_file(split.source), split.space, split.source)

    def classes(self) -> list[int]:
        """A number per line; lines of one identity share it. Numbered in order of first appearance."""
        return numbered(line.identity for line in self.records)


def numbered(names: Iterable[str]) -> list[int]:
    """A number per name, equal for equal names, in order of first appearance."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


def has_validation(data: DataConfig) -> bool:
    """Else identities of the train split are held out for it, but for a checkpoint that is chosen on test."""
    return "val" in data_set(data.name).splits(Path(data.folder))


def train_split(data: DataConfig, hold_out: bool = True) -> Split:
    """The train split, with hold_out less the identities that are held out for validation, where the data set has no validation split."""
    chosen, root = data_set(data.name), Path(data.folder)
    split = chosen.read(root, "train")
    if not hold_out or has_validation(data):
        return split
    return _part(split, "train", [record for record in split.records if not held_out(record, data.val_share)])


def validation_split(data: DataConfig) -> Split:
    """The validation split, or, where there is none, the identities held out of the train split."""
    chosen, root = data_set(data.name), Path(data.folder)
    if has_validation(data):
        return chosen.read(root, "val")
    split = chosen.read(root, "train")
    kept = [record for record in split.records if held_out(record, data.val_share)]
    if not kept:
        raise ConfigError(f"data.val_share={data.val_share} holds no identity of {split.source} out; raise it")
    return _part(split, "val", kept)


def only_kinds(split: Split, kinds: Sequence[str]) -> Split:
    """Raises ConfigError if the split has no record of these kinds."""
    records = [record for record in split.records if record.kind in kinds]
    if not records:
        raise ConfigError(f"data.kinds={list(kinds)}: {split.source} has no line of these kinds in its {split.name} split")
    return _part(split, split.name, records)


def held_out(record: Record, share: float) -> bool:
    """By a hash of the identity, so that all pictures of a person stay together, whatever the order of the file."""
    return derive_seed(0, HOLD_OUT, record.identity) % 10_000 < round(share * 10_000)


def lines_of(records: Sequence[Record]) -> tuple[Line, ...]:
    """One line a caption; a picture without captions is one line of no text."""
    lines = []
    for record in records:
        for number, text in enumerate(record.captions or ("",)):
            key = record.image if number == 0 else f"{record.image}#{number}"
            lines.append(Line(key, record.image, text, record.identity, record.labels, record.kind))
    return tuple(lines)


def check_files(folder: Path, names: Sequence[str], where: Path) -> None:
    """Raises ContractError if pictures that `where` names are not in the folder. Folders are listed: to ask for each file takes minutes
    where there are many."""
    present: dict[str, set[str]] = {}
    absent = []
    for name in dict.fromkeys(names):
        below, _, last = name.rpartition("/")
        if below not in present:
            present[below] = _files_in(folder / below)
        if last not in present[below]:
            absent.append(name)
    if absent:
        count = len(set(names))
        raise ContractError(f"{folder} lacks {len(absent)} of the {count} pictures that {where} names, the first is {absent[0]}")


def _files_in(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if entry.is_file()}


def _part(split: Split, name: str, records: Sequence[Record]) -> Split:
    return Split(name=name, source=split.source, images=split.images, records=tuple(records), space=split.space)
