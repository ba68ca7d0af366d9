"""Relative position tables for another window size, by BEiT's geometric grid, as Swin weights are adapted for APTM."""

import numpy as np
from scipy.interpolate import RectBivariateSpline


def resize_bias_table(table: np.ndarray, window: int) -> np.ndarray:
    """((2v - 1)**2, heads) of window v -> ((2 * window - 1)**2, heads), float32.

    Source and target coordinates agree at the centre and grow apart geometrically, because near offsets matter more.
    Source: BEiT (Bao et al., 2022), as used by X-VLM and APTM. Cubic spline through all points (s = 0).
    """
    size, target = round(len(table) ** 0.5), 2 * window - 1
    if size == target:
        return table
    source = _geometric_grid(size, target)
    reach = target // 2
    wanted = np.arange(-reach, reach + 0.1)
    maps = table.astype(np.float64).reshape(size, size, -1)
    resized = [RectBivariateSpline(source, source, maps[..., head], kx=3, ky=3, s=0)(wanted, wanted) for head in range(maps.shape[-1])]
    return np.stack(resized, -1).reshape(target * target, -1).astype(np.float32)


def _geometric_grid(size: int, target: int) -> np.ndarray:
    """Ascending, symmetric, size points: distances 1, q, q^2, ... with q so that they reach target // 2 (or q at its bound)."""
    half = size // 2
    left, right, ratio = 1.01, 1.5, 1.01
    while right - left > 1e-6:
        ratio = (left + right) / 2
        if (1 - ratio**half) / (1 - ratio) > target // 2:
            right = ratio
        else:
            left = ratio
    positive = np.cumsum(ratio ** np.arange(half))
    return np.concatenate([-positive[::-1], [0.0], positive])
