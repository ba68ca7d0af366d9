"""Numbers of a ranking beside those of `pretrain.retrieval.metrics`: hits at every depth, and the winners' truncated precision.

similarity: (Q, G), higher is better; relevant: (Q, G) bool. Ties keep the order of the gallery. Fractions.
"""

import numpy as np


def ranking(similarity: np.ndarray) -> np.ndarray:
    """(Q, G) indices of the gallery, best first."""
    return np.argsort(-similarity, axis=1, kind="stable")


def hit_rates(similarity: np.ndarray, relevant: np.ndarray, depth: int = 10) -> np.ndarray:
    """(depth,) share of queries with a relevant item among the first 1, 2, ... depth."""
    hits = np.take_along_axis(relevant, ranking(similarity)[:, :depth], 1)
    return (hits.cumsum(1) > 0).mean(0)


def mean_average_precision(similarity: np.ndarray, relevant: np.ndarray) -> float:
    """Over the whole ranking; the denominator is the number of relevant items. Queries without one count 0."""
    hits = np.take_along_axis(relevant, ranking(similarity), 1)
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / np.maximum(hits.sum(1), 1)).mean())


def mean_inverse_negative_penalty(similarity: np.ndarray, relevant: np.ndarray) -> float:
    """Mean of relevant items / rank of the last one. Queries without a relevant item count 0."""
    hits = np.take_along_axis(relevant, ranking(similarity), 1)
    last = (hits * np.arange(1, hits.shape[1] + 1)).max(1)
    return float((hits.sum(1) / np.maximum(last, 1)).mean())


def average_precision_of_hits(similarity: np.ndarray, relevant: np.ndarray, depth: int) -> float:
    """The winners' validation score at one depth: the denominator is the number of hits among the first `depth`; none gives 0."""
    hits = np.take_along_axis(relevant, ranking(similarity)[:, :depth], 1)
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / np.maximum(hits.sum(1), 1)).mean())
