"""Scores of a ranking, by kind of query."""

from collections.abc import Sequence

import numpy as np

from finetune.datasets.retrieval_split import RetrievalSplit
from finetune.submission import LIST_LENGTH, average_precision_at, official_average_precision
from pipeline.contracts.errors import ContractError
from pretrain.retrieval.metrics import METRICS, query_metrics, relevant_ranks


def measure(split: RetrievalSplit, scores: np.ndarray) -> dict[str, dict[str, float]]:
    """{"all" | "pedestrian" | "vehicle": scores}; a kind without queries is left out. Fractions, means over queries.

    recall@1, @5, @10, map, minp over the whole ranking; map@10 (denominator min(positives, 10)) and official (the organisers', whose
    denominator is the number of hits) over the first ten. Raises ContractError if the answers are not known or a query has none.
    """
    if split.relevant is None:
        raise ContractError(f"{split.folder}: no answers beside these pictures (test_gt.txt), so nothing can be measured")
    lists = ranked_names(split, scores)
    positives = [np.flatnonzero(row) for row in split.relevant]
    ranks = query_metrics(relevant_ranks(scores, positives))
    rows = [
        {**dict(zip(METRICS, row, strict=True)), **_of_the_list(names, [split.gallery[i] for i in right])}
        for row, names, right in zip(ranks.tolist(), lists, positives, strict=True)
    ]
    chosen = {"all": list(range(len(rows)))} | {kind: queries for kind, (queries, _) in split.routes.items()}
    return {kind: {name: float(np.mean([rows[i][name] for i in places])) for name in rows[0]} for kind, places in chosen.items() if places}


def _of_the_list(names: Sequence[str], positives: Sequence[str]) -> dict[str, float]:
    return {f"map@{LIST_LENGTH}": average_precision_at(names, positives), "official": official_average_precision(names, positives)}


def ranked_names(split: RetrievalSplit, scores: np.ndarray) -> list[list[str]]:
    """The names of a submission for each query; ties keep the order of the gallery."""
    return [[split.gallery[i] for i in _first(row, LIST_LENGTH)] for row in scores]


def _first(scores: np.ndarray, length: int) -> np.ndarray:
    """Places of the `length` highest of (G,) scores, best first; only those that reach the last one's score are sorted."""
    if length >= len(scores):
        return np.argsort(-scores, kind="stable")
    least = np.partition(scores, -length)[-length]
    places = np.flatnonzero(scores >= least)
    return places[np.argsort(-scores[places], kind="stable")][:length]
