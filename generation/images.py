"""Encoded pictures <-> arrays. Read and written by every stage that touches pixels."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.contracts.errors import ContractError
from pipeline.contracts.stage import Fail

Image = npt.NDArray[np.uint8]
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class UnreadableImageError(Exception):
    """The bytes are no picture. Stages turn it into Fail("corrupt_image")."""


def decode_rgb(data: bytes) -> Image:
    """PNG, JPEG, WebP or BMP bytes -> (H, W, 3) uint8 RGB; alpha is dropped, grey is repeated. Raises UnreadableImageError."""
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    except cv2.error as err:  # more pixels than it takes: a header that says 60000 x 60000
        raise UnreadableImageError(f"{len(data)} bytes that OpenCV refuses ({err.err})") from err
    if pixels is None:
        raise UnreadableImageError(f"{len(data)} bytes that are no picture")
    return np.ascontiguousarray(pixels[:, :, ::-1], dtype=np.uint8)


def decode_item(image: bytes | None) -> "Image | Fail":
    """A stage's picture, or the outcome that says that it cannot be read."""
    try:
        return decode_rgb(image or b"")
    except UnreadableImageError as err:
        return Fail("corrupt_image", str(err))


def encode_png(image: Image) -> bytes:
    """(H, W, 3) uint8 RGB -> PNG bytes; the same pixels always give the same bytes."""
    import cv2

    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def encode_jpeg(image: Image, quality: int) -> bytes:
    """(H, W, 3) uint8 RGB -> JPEG bytes, quality 1..100."""
    import cv2

    return cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def resize(image: Image, height: int, width: int) -> Image:
    """Area averaging when the picture shrinks, cubic interpolation when it grows."""
    import cv2

    method = cv2.INTER_AREA if height < image.shape[0] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, (width, height), interpolation=method), dtype=np.uint8)


def resize_to_height(image: Image, height: int) -> Image:
    """As `resize`, proportions kept (the width is at least 1 px)."""
    return resize(image, height, max(round(image.shape[1] * height / image.shape[0]), 1))


def list_pictures(folder: Path) -> list[Path]:
    """Picture files directly in `folder`, by name. Raises ContractError if there is no such folder or no picture in it."""
    if not folder.is_dir():
        raise ContractError(f"{folder} is not a folder; give the folder that holds the pictures")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and not path.is_dir())
    if not files:
        raise ContractError(f"{folder} holds no picture; accepted: {', '.join(PICTURE_SUFFIXES)}, not in folders below it")
    return files
