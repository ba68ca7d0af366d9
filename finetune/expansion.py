"""A3R's re-ranking of a finished ranking: query expansion from its own first pictures, and their reciprocal neighbours.

Per query the first `shortlist` pictures are re-scored: the expanded query is the first principal direction of the best pictures' features
weighted by their (min-max scaled) similarity, every picture is averaged over its k-reciprocal neighbours, and the final score is
cosine - (1 - cosine of the expanded query). Their notebook divides by zero where all similarities are equal; weights are even then.
"""

import numpy as np


def expanded_scores(similarity: np.ndarray, image_feat: np.ndarray, shortlist: int, best: int = 5, neighbours: int = 10) -> np.ndarray:
    """similarity (Q, G), image_feat (G, D) L2-normalised -> (Q, G): the shortlist re-ordered in front, the rest as it was behind."""
    scores = similarity.astype(np.float64).copy()
    width = min(shortlist, similarity.shape[1])
    for row, values in enumerate(similarity):
        top = np.argsort(-values, kind="stable")[:width]
        images = _smoothed(image_feat[top], min(neighbours, width))
        query = _direction(image_feat[top[:best]], values[top[:best]])
        fresh = values[top] - (1 - images @ query)
        rest = np.delete(values, top)
        floor = rest.max() if len(rest) else 0.0
        scores[row, top] = fresh - fresh.min() + floor + 1e-6
    return scores.astype(np.float32)


def _direction(images: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """(D,) unit vector: first right singular vector of the weighted features, pointing to where they lie."""
    spread = similarity.max() - similarity.min()
    weights = (similarity - similarity.min()) / spread if spread > 0 else np.ones_like(similarity)
    weighted = images * weights[:, None]
    direction = np.linalg.svd(weighted.astype(np.float64), full_matrices=False)[2][0]
    return direction * (1.0 if (weighted @ direction).sum() >= 0 else -1.0)


def _smoothed(images: np.ndarray, k: int) -> np.ndarray:
    """Each picture averaged with those that it is among the k nearest of and that are among its own k nearest; normalised."""
    near = np.argsort(-(images @ images.T), axis=1, kind="stable")[:, :k]
    among = np.zeros((len(images), len(images)), bool)
    np.put_along_axis(among, near, True, axis=1)
    mutual = (among & among.T) | np.eye(len(images), dtype=bool)
    mean = mutual @ images / mutual.sum(1, keepdims=True)
    return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
