"""The surveillance look: what a cheap camera far away makes of a clean picture."""

import cv2
import numpy as np


def surveillance(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Degrade (H, W, 3) uint8 RGB to the same shape: low resolution, blur, colour cast, noise, JPEG."""
    height, width = image.shape[:2]
    factor = float(rng.uniform(0.35, 0.70)) * min(1.0, 160.0 / height)
    small = cv2.resize(image, (max(int(width * factor), 8), max(int(height * factor), 8)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), float(rng.uniform(0.3, 0.9))).astype(np.float32)
    contrast, level = float(rng.uniform(0.65, 0.95)), float(rng.uniform(-22, 14))
    cast = rng.uniform(0.92, 1.08, 3)
    small = ((small - 128.0) * contrast + 128.0 + level) * cast
    small = small + rng.normal(0.0, float(rng.uniform(2.0, 7.0)), small.shape)
    pixels = np.clip(small, 0, 255).astype(np.uint8)
    _, packed = cv2.imencode(".jpg", pixels[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 70))])
    decoded = cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1]
    return cv2.resize(decoded, (width, height), interpolation=cv2.INTER_LINEAR)
