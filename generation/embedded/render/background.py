"""Backgrounds of few smooth shapes: plain, street, wall, park, indoor. Drawn with OpenCV's anti-aliased primitives."""

import cv2
import numpy as np

BACKGROUNDS = ("plain", "street", "wall", "park", "indoor")
_VIVID = ((190, 50, 50), (50, 90, 180), (230, 190, 60), (60, 140, 80), (235, 235, 232), (60, 60, 66), (224, 130, 50), (150, 90, 160))


def draw_background(kind: str, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Raises: ValueError for an unknown kind."""
    if kind not in BACKGROUNDS:
        raise ValueError(f"background={kind!r}: accepted are {', '.join(BACKGROUNDS)}")
    return _DRAWERS[kind](rng, height, width)


def _tone(rng: np.random.Generator, low: float, high: float, tint: float = 14.0) -> np.ndarray:
    return np.clip(rng.uniform(low, high) + rng.uniform(-tint, tint, 3), 0, 255)


def _gradient(top: np.ndarray, bottom: np.ndarray, height: int, width: int) -> np.ndarray:
    ramp = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    return np.ascontiguousarray(np.broadcast_to(top + (bottom - top) * ramp, (height, width, 3)).astype(np.uint8))


def _ground(image: np.ndarray, horizon: int, color: np.ndarray) -> None:
    height, width = image.shape[:2]
    image[horizon:] = _gradient(color * 0.90, np.minimum(color * 1.06, 255), height - horizon, width)


def _rect(image: np.ndarray, x0: float, y0: float, x1: float, y1: float, rgb: np.ndarray) -> None:
    cv2.rectangle(image, (int(x0), int(y0)), (int(x1), int(y1)), tuple(float(v) for v in rgb), -1)


def _plain(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    tone = _tone(rng, 110, 210, 20)
    image = _gradient(np.minimum(tone * 1.08, 255), tone * 0.92, height, width)
    _ground(image, int(height * rng.uniform(0.74, 0.86)), tone * 0.80)
    return image


def _street(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    image = _gradient(np.array((150, 190, 228)) + rng.uniform(-25, 20), np.array((220, 228, 234)), height, width)
    horizon, x = int(height * rng.uniform(0.52, 0.62)), -width * rng.uniform(0.0, 0.2)
    while x < width:
        wide, high = width * rng.uniform(0.28, 0.55), horizon * rng.uniform(0.45, 1.05)
        tone = _tone(rng, 120, 200, 24)
        _rect(image, x, horizon - high, x + wide, horizon, tone)
        step = max(wide / 3.2, 4)
        for column in np.arange(x + step * 0.4, x + wide - step * 0.5, step):
            for row in np.arange(horizon - high + step * 0.5, horizon - step, step * 1.4):
                _rect(image, column, row, column + step * 0.5, row + step * 0.7, tone * 0.72)
        x += wide
    _ground(image, horizon, _tone(rng, 120, 165, 6))
    curb = int(horizon + height * 0.10)
    _rect(image, 0, curb, width, curb + height * 0.012, np.array((196, 194, 190)))
    if rng.random() < 0.5:
        _car(image, rng, horizon, height, width)
    if rng.random() < 0.4:
        _lamp(image, rng, horizon, height, width)
    return image


def _car(image: np.ndarray, rng: np.random.Generator, horizon: int, height: int, width: int) -> None:
    rgb, size = np.array(_VIVID[int(rng.integers(len(_VIVID)))]), height * rng.uniform(0.10, 0.14)
    x, y = rng.choice((-0.25, 0.62)) * width + rng.uniform(-0.1, 0.1) * width, horizon + height * 0.07
    wide = size * 3.2
    roof = np.array(
        [(x + wide * 0.18, y - size * 0.5), (x + wide * 0.32, y - size), (x + wide * 0.68, y - size), (x + wide * 0.86, y - size * 0.5)]
    )
    cv2.fillPoly(image, [roof.astype(np.int32)], (70, 84, 98), cv2.LINE_AA)
    _rect(image, x, y - size * 0.55, x + wide, y, rgb)
    for wheel in (0.22, 0.78):
        cv2.circle(image, (int(x + wide * wheel), int(y)), max(int(size * 0.24), 1), (34, 34, 36), -1, cv2.LINE_AA)


def _lamp(image: np.ndarray, rng: np.random.Generator, horizon: int, height: int, width: int) -> None:
    x, thick = int(width * rng.choice((0.08, 0.90)) + rng.uniform(-3, 3)), max(int(height * 0.012), 1)
    cv2.line(image, (x, int(height * 0.12)), (x, int(horizon + height * 0.12)), (74, 78, 84), thick, cv2.LINE_AA)
    cv2.circle(image, (x, int(height * 0.11)), max(int(height * 0.022), 2), (250, 238, 196), -1, cv2.LINE_AA)


def _wall(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    tones = ((178, 120, 96), (196, 190, 178), (150, 158, 166), (214, 204, 180), (128, 140, 132))
    tone = np.array(tones[int(rng.integers(len(tones)))]) + rng.uniform(-12, 12)
    image = _gradient(tone * 1.05, tone * 0.92, height, width)
    ground = int(height * rng.uniform(0.74, 0.84))
    for row in np.arange(0, ground, height / 16):
        cv2.line(image, (0, int(row)), (width, int(row)), tuple(tone * 0.90), 1)
    if rng.random() < 0.6:
        rgb, x = np.array(_VIVID[int(rng.integers(len(_VIVID)))]), width * rng.choice((0.02, 0.72))
        _rect(image, x, height * 0.14, x + width * 0.26, height * 0.30, rgb)
        _rect(image, x + width * 0.05, height * 0.18, x + width * 0.21, height * 0.20, np.minimum(rgb + 70, 255))
    _ground(image, ground, _tone(rng, 120, 175, 8))
    return image


def _park(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    image = _gradient(np.array((156, 200, 232)), np.array((222, 236, 238)), height, width)
    horizon = int(height * rng.uniform(0.50, 0.62))
    for _ in range(int(rng.integers(2, 5))):
        x, size = rng.uniform(0, width), height * rng.uniform(0.08, 0.15)
        crown = np.array((86, 138, 78)) * rng.uniform(0.75, 1.2)
        cv2.line(image, (int(x), int(horizon)), (int(x), int(horizon - size * 1.6)), (104, 78, 56), max(int(size * 0.2), 1), cv2.LINE_AA)
        for dx, dy in ((-0.5, -1.6), (0.5, -1.7), (0.0, -2.3)):
            cv2.circle(image, (int(x + dx * size), int(horizon + dy * size)), int(size * 0.8), tuple(crown), -1, cv2.LINE_AA)
    _ground(image, horizon, np.array((128, 172, 104)) * rng.uniform(0.85, 1.1))
    path = np.array([(width * 0.40, horizon), (width * 0.58, horizon), (width * 1.15, height), (-width * 0.15, height)], np.int32)
    cv2.fillPoly(image, [path], tuple(_tone(rng, 178, 205, 6)), cv2.LINE_AA)
    return image


def _indoor(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    tone = _tone(rng, 180, 228, 10)
    image = _gradient(tone, tone * 0.93, height, width)
    floor = int(height * rng.uniform(0.70, 0.80))
    _ground(image, floor, np.array((172, 142, 112)) * rng.uniform(0.85, 1.15))
    _rect(image, 0, floor - height * 0.02, width, floor, tone * 0.84)
    x = width * rng.choice((0.04, 0.66))
    _rect(image, x, height * 0.22, x + width * 0.30, floor, np.array(_VIVID[int(rng.integers(len(_VIVID)))]) * 0.5 + 70)
    other = width * (0.72 if x < width / 2 else 0.06)
    _rect(image, other, height * 0.10, other + width * 0.22, height * 0.28, tone * 0.80)
    _rect(image, other + 2, height * 0.10 + 2, other + width * 0.22 - 2, height * 0.28 - 2, np.array((170, 200, 222)))
    return image


_DRAWERS = {"plain": _plain, "street": _street, "wall": _wall, "park": _park, "indoor": _indoor}
