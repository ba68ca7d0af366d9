"""The challenge's splits as records. Its test split has queries and pictures apart, so its queries stand beside the records."""

from pathlib import Path

from finetune.datasets.challenge import (
    Pedestrian,
    gold_path,
    images_folder,
    kind_of_image,
    labels_path,
    list_gallery,
    queries_path,
    read_gold,
    read_labels,
    read_queries,
)
from finetune.datasets.challenge import Record as Line
from finetune.datasets.records import PEDESTRIAN, Record, Split
from pipeline.contracts.attributes import MISSING
from pipeline.contracts.challenge import BITS_21
from pipeline.contracts.errors import ContractError


def read_challenge(root: Path, split: str) -> Split:
    """Raises ContractError for a bad label, query or gold file."""
    folder = images_folder(root, split)
    if split == "test":
        queries = read_queries(queries_path(root))
        if gold_path(root).is_file() and [text for text, _ in read_gold(gold_path(root))] != queries:
            raise ContractError(
                f"{gold_path(root)}: its queries are not those of {queries_path(root)}, line by line; restore one of the files"
            )
        names = list_gallery(root)
        records = tuple(Record(image=name, identity=name, kind=kind_of_image(name) or PEDESTRIAN) for name in names)
        return Split(name=split, source=queries_path(root), images=folder, records=records, queries=tuple(queries))
    path = labels_path(root, split)
    lines = read_labels(path)
    return Split(name=split, source=path, images=folder, records=tuple(map(as_record, lines)), space=BITS_21)


def as_record(line: Line) -> Record:
    """A label line; vehicles state none of the 21 bits."""
    labels = line.bits if isinstance(line, Pedestrian) else (MISSING,) * len(BITS_21)
    return Record(image=line.image, identity=line.identity, captions=(line.text,), labels=labels, kind=line.kind)
