"""Augmentations beside APTM's: IRRA's crop and erasing, the camera look, squares, and the colour patch. Pictures are (H, W, 3) uint8 RGB.

Random numbers come from the generator that is passed in.
"""

import cv2
import numpy as np

from finetune.augment_settings import PictureConfig
from pretrain.augment import erase, normalise, rand_augment

PATCH_SHARE = 0.08  # of the short side: large enough for a 16-pixel patch of a 384-pixel picture
CROP_TRIES = 10  # then the picture stays whole
PATCH_RGB = {
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "yellow": (255, 255, 0),
    "purple": (160, 32, 240),
    "pink": (255, 192, 203),
    "red": (255, 0, 0),
    "orange": (255, 97, 0),
    "blue": (0, 0, 255),
    "brown": (128, 42, 42),
    "green": (0, 255, 0),
    "grey": (192, 192, 192),
}


def train_pixels(picture: np.ndarray, config: PictureConfig, rng: np.random.Generator, colour: str | None = None) -> np.ndarray:
    """A resized picture -> augmented (3, H, W) float32. colour: name of the patch pasted after all that moves pixels; None: no patch."""
    if config.degrade and rng.random() < config.degrade:
        picture = degrade(picture, rng)
    if rng.random() < config.flip:
        picture = picture[:, ::-1]
    picture = _cropped(_shifted(np.ascontiguousarray(picture), config.pad_px, rng), config.crop_scale, rng)
    if config.operations:
        picture = rand_augment(picture, config.plain(), rng)
    pixels = normalise(paste(picture, colour), config.mean, config.std)
    if not config.erase_with_mean:
        return erase(pixels, config.erasing, rng)
    marked = erase(pixels.copy(), config.erasing, rng)
    changed = (marked == 0).all(0) & (pixels != 0).any(0)
    pixels[:, changed] = np.array(config.mean, np.float32)[:, None]
    return pixels


def paste(picture: np.ndarray, colour: str | None) -> np.ndarray:
    """A square of the colour in the upper left corner. Source: the challenge's winners, who paste 30 px before cropping, where it may get
    lost; here it is a share of the short side and comes last."""
    if colour is None:
        return picture
    side = max(1, round(PATCH_SHARE * min(picture.shape[:2])))
    picture = picture.copy()
    picture[:side, :side] = PATCH_RGB[colour]
    return picture


def degrade(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """As a distant camera sees it: fewer pixels, blur, a colour cast, noise, strong JPEG. Same size."""
    height, width = picture.shape[:2]
    share = rng.uniform(0.25, 0.7)
    small = cv2.resize(picture, (max(8, round(width * share)), max(8, round(height * share))), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.3, 1.2))
    cast = rng.uniform(0.85, 1.1, 3) * rng.uniform(0.7, 1.1)
    noisy = small * cast + rng.normal(0, rng.uniform(2, 10), small.shape)
    _, coded = cv2.imencode(".jpg", noisy.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 70))])
    return cv2.resize(cv2.imdecode(coded, cv2.IMREAD_COLOR), (width, height), interpolation=cv2.INTER_LINEAR)


def padded_square(picture: np.ndarray) -> np.ndarray:
    """Black on both sides of the short edge, the odd pixel behind. Source: A3R."""
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + height, left : left + width] = picture
    return square


def _shifted(picture: np.ndarray, pad: int, rng: np.random.Generator) -> np.ndarray:
    if not pad:
        return picture
    height, width = picture.shape[:2]
    framed = np.pad(picture, ((pad, pad), (pad, pad), (0, 0)))
    top, left = rng.integers(0, 2 * pad + 1, 2)
    return np.ascontiguousarray(framed[top : top + height, left : left + width])


def _cropped(picture: np.ndarray, scale: float, rng: np.random.Generator) -> np.ndarray:
    """A shape that does not fit is drawn anew, as torchvision does it: cut to the picture, it would hold less than `scale` of the area."""
    height, width = picture.shape[:2]
    for _ in range(CROP_TRIES if scale < 1 else 0):
        area, aspect = rng.uniform(scale, 1), np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        rows, columns = round(height * (area / aspect) ** 0.5), round(width * (area * aspect) ** 0.5)
        if 0 < rows <= height and 0 < columns <= width:
            top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
            part = np.ascontiguousarray(picture[top : top + rows, left : left + columns])
            return cv2.resize(part, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture
