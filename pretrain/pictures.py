"""Encoded pictures to arrays of the model's size."""

import io

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.contracts.errors import ContractError


def decode_resized(data: bytes, height: int, width: int, where: str) -> np.ndarray:
    """JPEG or PNG bytes -> (height, width, 3) uint8 RGB, bicubic as in PIL (which smooths when shrinking; OpenCV does not).

    Raises ContractError naming `where` if the bytes are no whole picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return resized(image if image.mode == "RGB" else image.convert("RGB"), height, width)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
        raise ContractError(f"{where}: not a readable picture ({err}); run `passerby lint` on the run to find all such samples") from err


def resized(image: Image.Image, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8."""
    return np.asarray(image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC))
