"""Which colour a garment has in a picture, by rule: the median of a region between key points, named by the nearest palette colour."""

import cv2
import numpy as np

from generation.embedded.render.palette import nearest_color

LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_HIP, RIGHT_HIP, LEFT_KNEE, RIGHT_KNEE = 11, 12, 23, 24, 25, 26  # MediaPipe's numbers


def upper_region(points: np.ndarray) -> np.ndarray:
    """Quadrilateral inside the torso, (4, 2) px: the lower three quarters between shoulders and hips, narrowed."""
    return _quad(points[LEFT_SHOULDER], points[RIGHT_SHOULDER], points[LEFT_HIP], points[RIGHT_HIP], 0.3, 0.85)


def lower_region(points: np.ndarray) -> np.ndarray:
    """Quadrilateral over the thighs, (4, 2) px: shorts and short skirts reach it too."""
    return _quad(points[LEFT_HIP], points[RIGHT_HIP], points[LEFT_KNEE], points[RIGHT_KNEE], 0.12, 0.5)


def _quad(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray, start: float, end: float) -> np.ndarray:
    corners = np.stack([a + (c - a) * start, b + (d - b) * start, b + (d - b) * end, a + (c - a) * end])
    return corners


def median_colour(image: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Median RGB inside the quadrilateral; one seen edge-on (a side view) is widened to a band of a twentieth of the picture's height."""
    mask = np.zeros(image.shape[:2], np.uint8)
    thickness = max(1, image.shape[0] // 20)
    polygon = np.round(corners).astype(np.int32)
    cv2.fillPoly(mask, [polygon], (1,))
    top, bottom = polygon[:2].mean(0).astype(int).tolist(), polygon[2:].mean(0).astype(int).tolist()
    cv2.line(mask, top, bottom, (1,), thickness)
    return np.median(image[mask > 0], axis=0)


def garment_colours(image: np.ndarray, points: np.ndarray, upper: tuple[str, ...], lower: tuple[str, ...]) -> tuple[str, str]:
    """Names of the upper and lower garment's colours. image (H, W, 3) uint8 RGB; points (33, 2) px."""
    return nearest_color(median_colour(image, upper_region(points)), upper), nearest_color(
        median_colour(image, lower_region(points)), lower
    )
