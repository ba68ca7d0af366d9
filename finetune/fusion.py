"""Several models as one: their score matrices, made comparable, averaged."""

from collections.abc import Sequence

import numpy as np

from finetune.config import EvalConfig
from finetune.datasets.retrieval_split import RetrievalSplit
from finetune.methods.base import Searcher
from finetune.tasks import rank_split
from pipeline.contracts.errors import ContractError


def fused_scores(models: Sequence[tuple[Searcher, EvalConfig]], split: RetrievalSplit) -> np.ndarray:
    """(Q, G) scores of one model as they are, of several fused with equal weights."""
    matrices = [rank_split(searcher, split, config) for searcher, config in models]
    return matrices[0] if len(matrices) == 1 else fuse(matrices)


def fuse(matrices: Sequence[np.ndarray], weights: Sequence[float] | None = None) -> np.ndarray:
    """(Q, G) matrices -> their weighted mean, each row of each brought to zero mean and unit L2 norm before; -inf stays -inf.

    Rows and not matrices are scaled, so that one query does not count more in one model than in another. Raises ContractError if shapes
    or routes (the places of -inf) differ.
    """
    shares = list(weights or [1.0] * len(matrices))
    if len(shares) != len(matrices) or not matrices:
        raise ContractError(f"{len(shares)} weights for {len(matrices)} score matrices; give one each")
    open_places = np.isfinite(matrices[0])
    for matrix in matrices[1:]:
        if matrix.shape != matrices[0].shape or (np.isfinite(matrix) != open_places).any():
            raise ContractError(f"score matrices {matrices[0].shape} and {matrix.shape} are not of the same queries, pictures and routes")
    total = sum(share * _scaled(matrix, open_places) for share, matrix in zip(shares, matrices, strict=True))
    return np.where(open_places, total / sum(shares), -np.inf).astype(np.float32)


def _scaled(matrix: np.ndarray, open_places: np.ndarray) -> np.ndarray:
    values = np.where(open_places, matrix, 0).astype(np.float64)
    counts = np.maximum(open_places.sum(1, keepdims=True), 1)
    centred = np.where(open_places, values - values.sum(1, keepdims=True) / counts, 0)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
