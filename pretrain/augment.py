"""Pictures to normalised arrays: RandAugment on uint8 arrays, flip, erasing. Random numbers come from the generator that is passed in.

Pictures are (H, W, 3) uint8 RGB until `normalise`, (3, H, W) float32 after it.
Source: APTM research code, dataset/__init__.py (a RandAugment on OpenCV); golden pictures of every operation are in tests/golden.
"""

import functools
from collections.abc import Callable, Sequence

import cv2
import numpy as np

from pretrain.settings import AugmentConfig

Picture = np.ndarray

FILL = (128, 128, 128)
MAX_LEVEL = 10
MAX_SHEAR, MAX_TURN_DEG, MAX_SHIFT_PX = 0.3, 30.0, 10.0
APPLY = 0.5  # probability of each drawn operation
ERASE_AREA, ERASE_ASPECT, ERASE_TRIES = (0.02, 0.4), (0.3, 1 / 0.3), 100


def identity(picture: Picture) -> Picture:
    return picture


def autocontrast(picture: Picture) -> Picture:
    """Stretch each channel to 0..255."""
    return _per_channel(picture, _stretch_table)


def autocontrast_published(picture: Picture) -> Picture:
    """What the research code does: it negates an unsigned byte, so a channel without a 0 in it turns white."""
    return _per_channel(picture, functools.partial(_stretch_table, wrapped=True))


def equalize(picture: Picture) -> Picture:
    """Flatten each channel's histogram."""
    return _per_channel(picture, _equalize_table)


def brightness(picture: Picture, factor: float) -> Picture:
    return cv2.LUT(picture, (np.arange(256) * factor).clip(0, 255).astype(np.uint8))


def sharpness(picture: Picture, factor: float) -> Picture:
    """Away from a smoothed copy; the border of one pixel stays as it is."""
    kernel = np.ones((3, 3), np.float32)
    kernel[1, 1] = 5
    smooth = cv2.filter2D(picture, -1, kernel / 13)[1:-1, 1:-1].astype(np.float32)
    result = picture.copy()
    result[1:-1, 1:-1] = (smooth + factor * (picture[1:-1, 1:-1] - smooth)).clip(0, 255).astype(np.uint8)
    return result


def shear_x(picture: Picture, factor: float) -> Picture:
    return _warp(picture, [[1, factor, 0], [0, 1, 0]])


def shear_y(picture: Picture, factor: float) -> Picture:
    return _warp(picture, [[1, 0, 0], [factor, 1, 0]])


def translate_x(picture: Picture, offset_px: float) -> Picture:
    """To the left by offset_px."""
    return _warp(picture, [[1, 0, -offset_px], [0, 1, 0]])


def translate_y(picture: Picture, offset_px: float) -> Picture:
    """Upwards by offset_px."""
    return _warp(picture, [[1, 0, 0], [0, 1, -offset_px]])


def rotate(picture: Picture, degrees: float) -> Picture:
    """Anti-clockwise about the centre."""
    height, width = picture.shape[:2]
    return _warp(picture, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1))


def rand_augment(picture: Picture, config: AugmentConfig, rng: np.random.Generator) -> Picture:
    """Apply `operations` random operations, each with probability 0.5; geometric ones in a random direction."""
    strength = config.level / MAX_LEVEL
    enhance = 0.1 + 1.8 * strength
    for number in rng.integers(len(_PLAIN) + len(_ENHANCING) + len(_GEOMETRIC), size=config.operations):
        apply, sign = rng.random() < APPLY, 1.0 if rng.random() < 0.5 else -1.0
        if not apply:
            continue
        if number < len(_PLAIN):
            picture = _plain(number, config)(picture)
        elif (number := number - len(_PLAIN)) < len(_ENHANCING):
            picture = _ENHANCING[number](picture, enhance)
        else:
            operation, largest = _GEOMETRIC[number - len(_ENHANCING)]
            picture = operation(picture, sign * strength * largest)
    return picture


def normalise(picture: Picture, mean: tuple[float, float, float], std: tuple[float, float, float]) -> np.ndarray:
    """(H, W, 3) uint8 -> (3, H, W) float32, zero mean and unit deviation over the data set."""
    pixels = np.empty((3, *picture.shape[:2]), np.float32)
    for channel, table, plane in zip(cv2.split(picture), _tables(mean, std), pixels, strict=True):
        cv2.LUT(channel, table, dst=plane)
    return pixels


def erase(pixels: np.ndarray, probability: float, rng: np.random.Generator) -> np.ndarray:
    """Set one rectangle of normalised pixels (3, H, W) to 0, the mean colour, in place. Area 2 to 40 %, aspect 0.3 to 3.3."""
    if rng.random() >= probability:
        return pixels
    _, height, width = pixels.shape
    for _ in range(ERASE_TRIES):
        area, aspect = rng.uniform(*ERASE_AREA) * height * width, rng.uniform(*ERASE_ASPECT)
        rows, columns = round((area * aspect) ** 0.5), round((area / aspect) ** 0.5)
        if rows < height and columns < width:
            top, left = rng.integers(height - rows + 1), rng.integers(width - columns + 1)
            pixels[:, top : top + rows, left : left + columns] = 0
            return pixels
    return pixels


def train_pixels(picture: Picture, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """A resized picture (H, W, 3) uint8 -> augmented (3, H, W) float32."""
    if rng.random() < config.flip:
        picture = picture[:, ::-1]
    picture = rand_augment(np.ascontiguousarray(picture), config, rng)
    return erase(normalise(picture, config.mean, config.std), config.erasing, rng)


@functools.cache
def _tables(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """Of each channel, what the 256 values of a byte become: a third of the time of computing it for every pixel, and the same bits."""
    values = np.arange(256, dtype=np.float32)[:, None] / 255
    return tuple(np.ascontiguousarray(column) for column in ((values - np.array(mean, np.float32)) / np.array(std, np.float32)).T)


def _per_channel(picture: Picture, table_of: Callable[[np.ndarray], np.ndarray]) -> Picture:
    channels = cv2.split(picture)
    return cv2.merge([cv2.LUT(channel, table_of(channel)) for channel in channels])


def _stretch_table(channel: np.ndarray, wrapped: bool = False) -> np.ndarray:
    low, high = int(channel.min()), int(channel.max())
    if high <= low:
        return np.arange(256, dtype=np.uint8)
    scale = 255 / (high - low)
    offset = (-low % 256 if wrapped else -low) * scale
    return (np.arange(256) * scale + offset).clip(0, 255).astype(np.uint8)


def _equalize_table(channel: np.ndarray) -> np.ndarray:
    histogram = np.bincount(channel.ravel(), minlength=256)
    used = histogram[histogram > 0]
    step = int(used[:-1].sum()) // 255
    if step == 0:
        return np.arange(256, dtype=np.uint8)
    below = np.concatenate([[step // 2], histogram[:-1]]).cumsum()
    return (below // step).clip(0, 255).astype(np.uint8)


def _warp(picture: Picture, matrix: Sequence[Sequence[float]] | np.ndarray) -> Picture:
    height, width = picture.shape[:2]
    return cv2.warpAffine(picture, np.asarray(matrix, np.float32), (width, height), flags=cv2.INTER_LINEAR, borderValue=FILL)


def _plain(number: int, config: AugmentConfig) -> Callable[[Picture], Picture]:
    operation = _PLAIN[number]
    return autocontrast_published if operation is autocontrast and config.published_autocontrast else operation


_PLAIN: tuple[Callable[[Picture], Picture], ...] = (identity, autocontrast, equalize)
_ENHANCING: tuple[Callable[[Picture, float], Picture], ...] = (brightness, sharpness)
_GEOMETRIC: tuple[tuple[Callable[[Picture, float], Picture], float], ...] = (
    (shear_x, MAX_SHEAR),
    (shear_y, MAX_SHEAR),
    (translate_x, MAX_SHIFT_PX),
    (translate_y, MAX_SHIFT_PX),
    (rotate, MAX_TURN_DEG),
)
