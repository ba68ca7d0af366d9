"""Numbers of a ranking beside those of `pretrain.retrieval.metrics`: the winners' truncated precision.

similarity: (Q, G), higher is better; relevant: (Q, G) bool. Ties keep the order of the gallery. Fractions.
"""

import numpy as np


def ranking(similarity: np.ndarray) -> np.ndarray:
    """(Q, G) indices of the gallery, best first."""
    return np.argsort(-similarity, axis=1, kind="stable")


def average_precision_of_hits(similarity: np.ndarray, relevant: np.ndarray, depth: int) -> float:
    """The winners' validation score at one depth: the denominator is the number of hits among the first `depth`; none gives 0."""
    hits = np.take_along_axis(relevant, ranking(similarity)[:, :depth], 1)
    precision = hits.cumsum(1) / np.arange(1, hits.shape[1] + 1)
    return float(((precision * hits).sum(1) / np.maximum(hits.sum(1), 1)).mean())
