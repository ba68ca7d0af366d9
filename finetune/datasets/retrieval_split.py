"""A split as a retrieval task: queries, pictures, and which answers which.

Validation: every line is a query and every picture of the split a candidate; right are, for a vehicle, the pictures of equal tag, and for
a pedestrian, those whose bits include the line's (`pipeline.contracts.challenge.includes`). Kinds are those of the lines.
Test: the organisers' files; right is what test_gt.txt says, where it is given. Kinds are guessed from wording and names (`routing`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from finetune.config import DataConfig
from finetune.datasets.catalog import data_set
from finetune.datasets.challenge import (
    Pedestrian,
    Record,
    check_pictures,
    gold_path,
    images_folder,
    labels_path,
    list_gallery,
    queries_path,
    read_gold,
    read_labels,
    read_queries,
)
from finetune.datasets.lines import check_files, only_kinds, validation_split
from finetune.datasets.records import KINDS, Split
from finetune.datasets.routing import route
from pipeline.contracts.challenge import FEMALE
from pipeline.contracts.errors import ContractError


@dataclass(frozen=True, slots=True)
class RetrievalSplit:
    """routes: kind -> (indices of its queries, indices of the pictures they are searched in).

    relevant: (Q, G) bool, None where the answers are not known; every query has an answer.
    """

    folder: Path
    queries: tuple[str, ...]
    gallery: tuple[str, ...]
    routes: Mapping[str, tuple[list[int], list[int]]]
    relevant: np.ndarray | None


def read_val(root: Path) -> RetrievalSplit:
    """Raises ContractError for a bad label file or missing pictures."""
    path, folder = labels_path(root, "val"), images_folder(root, "val")
    records = read_labels(path)
    names = tuple(record.image for record in records)
    check_pictures(folder, names, path)
    places = {kind: [i for i, record in enumerate(records) if record.kind == kind] for kind in KINDS}
    routes = {kind: (indices, indices) for kind, indices in places.items()}
    return RetrievalSplit(folder, tuple(record.text for record in records), names, routes, relevant_pictures(records))


def read_test(root: Path) -> RetrievalSplit:
    """Raises ContractError if the gold file does not fit the queries, or names a picture that is not there."""
    queries, gallery = read_queries(queries_path(root)), list_gallery(root)
    relevant = _gold_matrix(root, queries, gallery) if gold_path(root).is_file() else None
    return RetrievalSplit(images_folder(root, "test"), tuple(queries), tuple(gallery), route(queries, gallery), relevant)


def read_validation(data: DataConfig) -> RetrievalSplit:
    """The split that chooses the checkpoint, less the kinds that are left out."""
    if data.name == "challenge":
        return of_kinds(read_val(Path(data.folder)), data.kinds)
    return from_records(only_kinds(validation_split(data), data.kinds))


def read_testing(data: DataConfig) -> RetrievalSplit | None:
    """The split that is scored once, less the kinds that are left out; None where there is none, or where the challenge's answers are not
    known."""
    root = Path(data.folder)
    if data.name == "challenge":
        return of_kinds(read_test(root), data.kinds) if gold_path(root).is_file() else None
    chosen = data_set(data.name)
    return from_records(only_kinds(chosen.read(root, "test"), data.kinds)) if "test" in chosen.splits(root) else None


def from_records(split: Split) -> RetrievalSplit:
    """Every caption is a query, every picture a candidate; right are the pictures of the caption's identity.

    Raises ContractError if pictures are missing or there is no caption.
    """
    captions = [(text, record) for record in split.records for text in record.captions]
    if not captions:
        raise ContractError(f"{split.source}: the {split.name} split has no captions, so there is nothing to search with")
    names = tuple(record.image for record in split.records)
    check_files(split.images, names, split.source)
    owners = np.array([record.identity for record in split.records])
    relevant = np.array([record.identity for _, record in captions])[:, None] == owners[None]
    kinds = {kind: [i for i, (_, record) in enumerate(captions) if record.kind == kind] for kind in KINDS}
    routes = {kind: (rows, [j for j, record in enumerate(split.records) if record.kind == kind]) for kind, rows in kinds.items()}
    return RetrievalSplit(split.images, tuple(text for text, _ in captions), names, routes, relevant)


def of_kinds(split: RetrievalSplit, kinds: Sequence[str]) -> RetrievalSplit:
    """The queries of these kinds alone; the gallery stays whole, and routes of other kinds are emptied."""
    rows = sorted(row for kind in kinds for row in split.routes[kind][0])
    if len(rows) == len(split.queries):
        return split
    if not rows:
        raise ContractError(f"{split.folder}: no query of the kinds {', '.join(kinds)}")
    place = {row: number for number, row in enumerate(rows)}
    routes = {kind: ([place[r] for r in q if r in place], g if kind in kinds else []) for kind, (q, g) in split.routes.items()}
    queries = tuple(split.queries[row] for row in rows)
    return RetrievalSplit(split.folder, queries, split.gallery, routes, None if split.relevant is None else split.relevant[rows])


def relevant_pictures(records: Sequence[Record]) -> np.ndarray:
    """(N, N) bool: picture j answers the text of line i."""
    matrix = np.zeros((len(records), len(records)), bool)
    people = [i for i, record in enumerate(records) if isinstance(record, Pedestrian)]
    others = [i for i, record in enumerate(records) if not isinstance(record, Pedestrian)]
    matrix[np.ix_(people, people)] = inclusion_matrix(np.array([r.bits for r in records if isinstance(r, Pedestrian)]))
    tags = np.array([records[i].identity for i in others])
    matrix[np.ix_(others, others)] = tags[:, None] == tags[None]
    return matrix


def inclusion_matrix(bits: np.ndarray) -> np.ndarray:
    """bits (N, 21) of 0 or 1 -> (N, N) bool: `includes(bits[i], bits[j])` for all pairs at once."""
    if not len(bits):
        return np.zeros((0, 0), bool)
    wanted = bits.sum(1)
    return (bits @ bits.T == wanted[:, None]) & (bits[:, None, FEMALE] == bits[None, :, FEMALE])


def _gold_matrix(root: Path, queries: Sequence[str], gallery: Sequence[str]) -> np.ndarray:
    path, gold = gold_path(root), read_gold(gold_path(root))
    if [text for text, _ in gold] != list(queries):
        raise ContractError(f"{path}: its queries are not those of {queries_path(root)}, line by line; restore one of the two files")
    places = {name: column for column, name in enumerate(gallery)}
    matrix = np.zeros((len(queries), len(gallery)), bool)
    for row, (_, names) in enumerate(gold):
        if unknown := [name for name in names if name not in places]:
            raise ContractError(f"{path}: line {row + 1} names {unknown[0]}, which is not in {images_folder(root, 'test')}")
        matrix[row, [places[name] for name in names]] = True
    return matrix
