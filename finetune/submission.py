"""The challenge's submission file: writing, checking and scoring it.

Format: `{"results": [{"text": query, "image_names": [ten names]}, ...]}` in the order of test_text.txt, texts verbatim. Two scores are
reported side by side, because the organisers' divides by the number of *hits in the list*, so that one right name at rank 1 followed by
nine wrong ones scores 1.0; the standard AP@10 divides by min(positives, 10).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json, write_bytes

LIST_LENGTH = 10
OFFICIAL_EPSILON = 1e-6
Result = tuple[str, list[str]]


def write_submission(path: Path, results: Sequence[Result]) -> None:
    """Atomic; one result a line, so that two submissions can be compared with a diff."""
    rows = [json.dumps({"text": text, "image_names": list(names)}, ensure_ascii=False) for text, names in results]
    write_bytes(path, ('{"results": [\n ' + ",\n ".join(rows) + "\n]}\n").encode())


def read_submission(path: Path) -> list[Result]:
    """(text, image names) in file order. Raises ContractError naming the result that is not of the format."""
    data = read_json(path)
    rows = data.get("results") if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise ContractError(f'{path}: accepted: one object with a list "results"; found {type(data).__name__}')
    for number, row in enumerate(rows, start=1):
        names = row.get("image_names") if isinstance(row, dict) else None
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or not isinstance(row.get("text"), str):
            raise ContractError(f'{path}: result {number} is not {{"text": ..., "image_names": [...]}}: {str(row)[:80]}')
    return [(row["text"], row["image_names"]) for row in rows]


def find_problems(results: Sequence[Result], queries: Sequence[str], gallery: Sequence[str] | None) -> list[str]:
    """What the organisers would refuse or a careful reader would: one sentence each, naming the query; empty if all is well.

    Args:
        queries: the lines of test_text.txt; count, order and wording must agree.
        gallery: names of the test pictures; None leaves the names unchecked.
    """
    problems = []
    if len(results) != len(queries):
        missing = (
            f"line {len(results) + 1} of the queries is the first without one"
            if len(results) < len(queries)
            else "the last ones are too many"
        )
        problems.append(f"{len(results)} results for {len(queries)} queries; {missing}")
    known = None if gallery is None else set(gallery)
    for number, ((text, names), query) in enumerate(zip(results, queries, strict=False), start=1):
        where = f"line {number} of the queries, result {number} ({query[:60]!r})"
        if text != query:
            problems.append(f"{where}: text is {text[:80]!r}; it must be the query verbatim and in the order of the query file")
        if len(names) != LIST_LENGTH:
            problems.append(f"{where}: {len(names)} image names; accepted: {LIST_LENGTH}")
        if repeated := sorted({n for n in names if names.count(n) > 1}):
            problems.append(f"{where}: repeated image names {', '.join(repeated)}")
        if unknown := [n for n in names if known is not None and n not in known]:
            problems.append(f"{where}: image names that are not in the gallery: {', '.join(unknown)}")
    return problems


def official_average_precision(names: Sequence[str], positives: Sequence[str]) -> float:
    """The organisers' AP of one list: sum of precision at each hit over (hits + 1e-6). Repeated names count again, as in their code."""
    wanted, hits, total = set(positives), OFFICIAL_EPSILON, 0.0
    for rank, name in enumerate(names, start=1):
        if name in wanted:
            hits += 1
            total += hits / rank
    return total / hits


def average_precision_at(names: Sequence[str], positives: Sequence[str], k: int = LIST_LENGTH) -> float:
    """AP over the first k names with denominator min(number of positives, k); a repeated name counts once."""
    wanted, hits, total = set(positives), 0, 0.0
    for rank, name in enumerate(names[:k], start=1):
        if name in wanted:
            wanted.discard(name)
            hits += 1
            total += hits / rank
    return total / min(len(set(positives)), k)


def score(gold: Sequence[Result], results: Sequence[Result]) -> dict[str, float]:
    """Means over the queries, fractions: official, map@10 (standard), recall@1, @5, @10 (share of queries with a hit among the first k).

    Raises ContractError if queries are not the same strings in the same order: the organisers score nothing then.
    """
    if len(gold) != len(results):
        raise ContractError(f"{len(results)} results for {len(gold)} gold queries; nothing is scored unless they agree")
    for number, ((text, _), (found, _)) in enumerate(zip(gold, results, strict=True), start=1):
        if text != found:
            raise ContractError(
                f"result {number} is for {found[:80]!r}, the gold file's query is {text[:80]!r}; keep the order of the queries"
            )
    pairs = [(names, positives) for (_, positives), (_, names) in zip(gold, results, strict=True)]
    scores = {
        "official": _mean([official_average_precision(names, positives) for names, positives in pairs]),
        "map@10": _mean([average_precision_at(names, positives) for names, positives in pairs]),
    }
    for k in (1, 5, 10):
        scores[f"recall@{k}"] = _mean([float(bool(set(names[:k]) & set(positives))) for names, positives in pairs])
    return scores


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
