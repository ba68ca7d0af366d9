"""Key points -> crop box -> crop. Pure numpy geometry."""

import numpy as np
import numpy.typing as npt

from generation.images import Image, resize

Box = tuple[int, int, int, int]  # x0, y0, x1, y1 in px; x1 and y1 exclusive; may reach outside the picture


def person_box(points: npt.NDArray[np.floating], *, pad_top: float, pad_bottom: float, pad_side: float, aspect: float) -> Box:
    """The box around a person's key points, padded and widened to `aspect`.

    Args:
        points: (N, 2) x, y in px, at least two with different y.
        pad_top, pad_bottom, pad_side: shares of the points' vertical extent (head and feet reach beyond their key points).
        aspect: width / height of the result; the padded box grows in one direction, about its middle, until it fits.

    Returns: a box of at least 1x1 px that contains all points and has this aspect to within the rounding of its edges.
    """
    low, high = points.min(axis=0).astype(float), points.max(axis=0).astype(float)
    extent = max(high[1] - low[1], 1.0)
    x0, x1 = low[0] - pad_side * extent, high[0] + pad_side * extent
    y0, y1 = low[1] - pad_top * extent, high[1] + pad_bottom * extent
    width, height = max(x1 - x0, 1.0), max(y1 - y0, 1.0)
    if width < aspect * height:
        x0, x1 = _grown(x0, x1, aspect * height)
    else:
        y0, y1 = _grown(y0, y1, width / aspect)
    left, top = int(np.floor(x0)), int(np.floor(y0))
    return left, top, max(int(np.ceil(x1)), left + 1), max(int(np.ceil(y1)), top + 1)


def crop(image: Image, box: Box) -> Image:
    """The pixels of `box`, (y1 - y0, x1 - x0, 3); outside the picture its edge pixels are repeated. Raises ValueError for an empty box."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"box {box} is empty")
    rows = np.clip(np.arange(y0, y1), 0, image.shape[0] - 1)
    columns = np.clip(np.arange(x0, x1), 0, image.shape[1] - 1)
    return np.ascontiguousarray(image[rows[:, None], columns[None, :]])


def crop_to_size(image: Image, box: Box, height: int, width: int) -> Image:
    """Crop and resize to (height, width, 3)."""
    return resize(crop(image, box), height, width)


def _grown(low: float, high: float, size: float) -> tuple[float, float]:
    middle = (low + high) / 2
    return middle - size / 2, middle + size / 2
