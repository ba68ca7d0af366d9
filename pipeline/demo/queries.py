"""Five test queries and the pictures that a submission names first for each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ContractError
from pipeline.demo.pictures import data_uri, spread

NUM_QUERIES, NUM_HITS = 5, 5


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer; picture: data URI."""

    name: str
    right: bool
    picture: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    text: str
    hits: tuple[Hit, ...]


def answered_queries(submission: Mapping[str, Any], gold: Path, images: Path) -> list[Query]:
    """NUM_QUERIES queries, evenly spaced over the file, with their first NUM_HITS pictures.

    Args:
        submission: {"results": [{"text", "image_names"}]}, in the order of `gold`.
        gold: lines `query$image$image...`.
        images: folder of the test pictures.

    Raises: ContractError if a query of the submission is not that of the same line of `gold`.
    """
    lines = gold.read_text(encoding="utf-8").splitlines()
    pairs = list(zip(submission["results"], lines, strict=True))
    return [_answered(result, line, gold, images) for result, line in spread(pairs, NUM_QUERIES)]


def _answered(result: Mapping[str, Any], line: str, gold: Path, images: Path) -> Query:
    text, *right = line.split("$")
    if result["text"] != text:
        raise ContractError(f"{gold}: the submission's query {result['text'][:80]!r} stands where {text[:80]!r} is expected")
    return Query(text, tuple(_hit(name, right, images) for name in result["image_names"][:NUM_HITS]))


def _hit(name: str, right: Sequence[str], images: Path) -> Hit:
    return Hit(name, name in right, data_uri((images / name).read_bytes()))
