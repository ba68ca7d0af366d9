"""Named colours: where the renderer draws its RGB values from, and how a pixel gets its name back."""

from functools import lru_cache

import cv2
import numpy as np

UPPER_COLORS = ("black", "white", "red", "purple", "yellow", "blue", "green", "gray")
LOWER_COLORS = ("black", "white", "purple", "yellow", "blue", "green", "pink", "gray", "brown")
VEHICLE_COLORS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")

# (hue, saturation, value) ranges in degrees, 0-1, 0-1. The gaps between neighbours (pink and purple, brown and yellow) are deliberate.
_HSV_RANGES = {
    "black": ((0, 360), (0.0, 0.15), (0.07, 0.14)),
    "white": ((0, 360), (0.0, 0.03), (0.93, 0.99)),
    "gray": ((0, 360), (0.0, 0.04), (0.48, 0.58)),
    "red": ((354, 363), (0.82, 0.93), (0.76, 0.90)),
    "purple": ((272, 284), (0.62, 0.78), (0.52, 0.68)),
    "yellow": ((46, 53), (0.76, 0.90), (0.92, 0.99)),
    "blue": ((214, 226), (0.72, 0.86), (0.62, 0.82)),
    "green": ((128, 148), (0.62, 0.80), (0.46, 0.60)),
    "pink": ((332, 342), (0.38, 0.50), (0.95, 1.0)),
    "brown": ((20, 27), (0.60, 0.70), (0.40, 0.48)),
    "orange": ((24, 30), (0.85, 0.95), (0.92, 1.0)),
}
# Lit, middle and shaded anchors: a garment is several of these, and its median lies near one of them.
_ANCHORS = {
    "black": ((20, 20, 22), (42, 42, 46)),
    "white": ((245, 245, 245), (214, 214, 216)),
    "gray": ((140, 140, 140), (110, 110, 112)),
    "red": ((212, 28, 34), (160, 22, 28)),
    "purple": ((130, 52, 162), (92, 36, 116)),
    "yellow": ((246, 208, 44), (196, 164, 36)),
    "blue": ((40, 86, 190), (28, 60, 134)),
    "green": ((42, 138, 72), (30, 100, 52)),
    "pink": ((252, 144, 186), (206, 116, 152)),
    "brown": ((114, 68, 38), (82, 49, 27)),
    "orange": ((246, 126, 24), (200, 102, 20)),
}

SKIN_TONES = ((247, 214, 190), (236, 194, 164), (220, 172, 138), (190, 138, 102), (148, 102, 74), (110, 74, 54))
HAIR_COLORS = {
    "black": (34, 30, 32),
    "brown": (92, 58, 36),
    "blonde": (224, 182, 104),
    "auburn": (146, 66, 34),
    "gray": (158, 158, 160),
    "white": (228, 228, 226),
}
ACCENTS = ("black", "red", "blue", "green", "yellow", "brown", "gray", "pink", "orange", "purple", "white")


def canonical(name: str) -> str:
    """The American spelling used inside: 'grey' -> 'gray'."""
    return "gray" if name == "grey" else name


def sample_rgb(name: str, rng: np.random.Generator) -> np.ndarray:
    """A random (3,) float32 RGB in 0-255 that is unmistakably the named colour. Raises: ValueError for an unknown name."""
    if canonical(name) not in _HSV_RANGES:
        raise ValueError(f"colour {name!r} is unknown; accepted: {', '.join(_HSV_RANGES)}")
    hue, saturation, value = (rng.uniform(*bounds) for bounds in _HSV_RANGES[canonical(name)])
    sector = hue / 60.0 % 6.0
    offsets = (np.array([5.0, 3.0, 1.0]) + sector) % 6.0
    ramp = np.clip(np.minimum(offsets, 4.0 - offsets), 0.0, 1.0)
    return (255.0 * value * (1.0 - saturation * ramp)).astype(np.float32)


@lru_cache(maxsize=64)
def _anchors_lab(names: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    rows = [(name, rgb) for name in names for rgb in _ANCHORS[canonical(name)]]
    return [name for name, _ in rows], to_lab(np.array([rgb for _, rgb in rows]))


def to_lab(rgb: np.ndarray) -> np.ndarray:
    """(N, 3) RGB in 0-255 -> (N, 3) float32 CIE Lab (L 0-100)."""
    pixels = np.asarray(rgb, np.float32).reshape(1, -1, 3) / 255.0
    return cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB)[0]


def nearest_color(rgb: np.ndarray, names: tuple[str, ...]) -> str:
    """The one of `names` whose nearest anchor is closest to `rgb` (3 values, 0-255) in Lab; lightness counts half.

    Shading moves lightness far more than hue, and half its weight still separates black, gray and white.
    """
    owners, anchors = _anchors_lab(tuple(names))
    difference = (to_lab(np.asarray(rgb)) - anchors) * np.array([0.5, 1.0, 1.0], np.float32)
    return owners[int(np.argmin((difference**2).sum(axis=1)))]
