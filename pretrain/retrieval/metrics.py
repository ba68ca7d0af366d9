"""Retrieval metrics as fractions, from scores and identities alone."""

from collections.abc import Sequence

import numpy as np

from pipeline.contracts.errors import ContractError

RECALL_AT = (1, 5, 10)


def retrieval_metrics(scores: np.ndarray, query_ids: Sequence[int | str], gallery_ids: Sequence[int | str]) -> dict[str, float]:
    """recall@1, recall@5, recall@10, map, minp, each in [0, 1].

    scores: (Q, G), higher is better; ties keep the order of the gallery. Every gallery item with the query's id is relevant.
    recall@k: share of queries with a relevant item among the first k. AP: mean precision at the ranks of the relevant items.
    INP: number of relevant items / rank of the last one. For example ids [7] against [9, 7, 7] with scores [[3, 2, 1]] give recall@1 = 0,
    map = (1/2 + 2/3) / 2, minp = 2/3.

    Raises ContractError if shapes do not fit or a query has no relevant item.
    """
    queries, gallery = np.asarray(query_ids), np.asarray(gallery_ids)
    if scores.shape != (len(queries), len(gallery)):
        raise ContractError(f"scores have shape {scores.shape}, but there are {len(queries)} queries and {len(gallery)} gallery items")
    order = np.argsort(-scores, axis=1, kind="stable")
    relevant = gallery[order] == queries[:, None]
    totals = relevant.sum(1)
    if (bare := np.flatnonzero(totals == 0)).size:
        raise ContractError(f"{bare.size} queries have no relevant gallery item, the first is query {bare[0]} with id {queries[bare[0]]!r}")
    ranks = np.arange(1, len(gallery) + 1)
    precision = relevant.cumsum(1) / ranks
    last = (relevant * ranks).max(1)
    first = relevant.argmax(1)
    return {
        **{f"recall@{k}": float((first < k).mean()) for k in RECALL_AT},
        "map": float(((precision * relevant).sum(1) / totals).mean()),
        "minp": float((totals / last).mean()),
    }
