"""Scores of a ranking, by kind of query."""

from collections.abc import Sequence

import numpy as np

from finetune.datasets.retrieval_split import RetrievalSplit
from finetune.submission import LIST_LENGTH, average_precision_at, official_average_precision
from pipeline.contracts.errors import ContractError
from pretrain.retrieval.metrics import retrieval_metrics


def measure(split: RetrievalSplit, scores: np.ndarray) -> dict[str, dict[str, float]]:
    """{"all" | "pedestrian" | "vehicle": scores}; a kind without queries is left out. Fractions, means over queries.

    recall@1, @5, @10, map, minp over the whole ranking; map@10 (denominator min(positives, 10)) and official (the organisers', whose
    denominator is the number of hits) over the first ten. Raises ContractError if the answers are not known or a query has none.
    """
    if split.relevant is None:
        raise ContractError(f"{split.folder}: no answers beside these pictures (test_gt.txt), so nothing can be measured")
    lists = ranked_names(split, scores)
    rows = [
        _measure_query(score, relevant, names, split.gallery) for score, relevant, names in zip(scores, split.relevant, lists, strict=True)
    ]
    chosen = {"all": list(range(len(rows)))} | {kind: queries for kind, (queries, _) in split.routes.items()}
    return {kind: {name: float(np.mean([rows[i][name] for i in places])) for name in rows[0]} for kind, places in chosen.items() if places}


def _measure_query(scores: np.ndarray, relevant: np.ndarray, names: Sequence[str], gallery: Sequence[str]) -> dict[str, float]:
    positives = [gallery[i] for i in np.flatnonzero(relevant)]
    return {
        **retrieval_metrics(scores[None], [1], relevant.astype(int).tolist()),
        f"map@{LIST_LENGTH}": average_precision_at(names, positives),
        "official": official_average_precision(names, positives),
    }


def ranked_names(split: RetrievalSplit, scores: np.ndarray, length: int = LIST_LENGTH) -> list[list[str]]:
    """The first `length` names for each query; ties keep the order of the gallery."""
    return [[split.gallery[i] for i in np.argsort(-row, kind="stable")[:length]] for row in scores]
