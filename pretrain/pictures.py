"""Encoded pictures to arrays of the model's size."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.contracts.errors import ContractError, first_line
from pipeline.pictures import MALFORMED

UNREADABLE = (*MALFORMED, Image.DecompressionBombError)
"""What Pillow raises for broken files, and for one whose header promises more pixels than it decodes."""


def reason(err: BaseException) -> str:
    """Of one of UNREADABLE, in words for users: Pillow names the object that it read from, or says nothing."""
    return "no picture of a known format" if isinstance(err, UnidentifiedImageError) else first_line(err)


def read_picture(path: Path) -> bytes:
    """As it lies in the file. Raises ContractError naming a file that cannot be read."""
    try:
        return path.read_bytes()
    except OSError as err:
        raise ContractError(f"{path} cannot be read: {err.strerror}") from err


def decode_resized(data: bytes, height: int, width: int, where: str) -> np.ndarray:
    """JPEG or PNG bytes -> (height, width, 3) uint8 RGB, bicubic as in PIL (which smooths when shrinking; OpenCV does not).

    As published codes do, an EXIF orientation is not looked at. Raises ContractError naming `where` if the bytes are no whole picture.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return resized(as_rgb(image), height, width)
    except UNREADABLE as err:
        raise ContractError(
            f"{where}: not a readable picture ({reason(err)}); run `passerby lint` on the run to find all such samples"
        ) from err


def as_rgb(image: Image.Image) -> Image.Image:
    """What is transparent shows white, not the colour that lies under it; grey of 16 bits is scaled, where Pillow would cut it off.

    Integers of 32 bits say nothing of their range, but in files that hold 16: they are taken for 16 bits if one exceeds 255.
    """
    image.load()  # what is said of a picture may stand behind its pixels
    if isinstance(image.info.get("transparency"), str):
        del image.info["transparency"]  # a text of that name, and no colour
    if image.mode == "P" and image.palette is None:
        raise SyntaxError("its pixels are numbers of colours, and it does not say which")  # Pillow would convert it to black
    if image.mode.startswith("I"):
        grey, clear = np.asarray(image), image.info.get("transparency")
        scale = 1 if image.mode == "I" and image.format not in ("PNG", "PPM") and grey.max() <= 255 else 257
        image = Image.fromarray((grey.clip(0, 65535) // scale).astype(np.uint8))
        if clear is not None:
            image.putalpha(Image.fromarray(np.where(grey == clear, 0, 255).astype(np.uint8)))
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def resized(image: Image.Image, height: int, width: int) -> np.ndarray:
    """(height, width, 3) uint8."""
    return np.asarray(image if image.size == (width, height) else image.resize((width, height), Image.Resampling.BICUBIC))
