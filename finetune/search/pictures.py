"""Pictures of any camera, the way up that a viewer shows them. Data sets are read as published codes read them: as they lie in the file."""

import io
import struct
from pathlib import Path

from PIL import ExifTags, Image

from pretrain.pictures import UNREADABLE, as_rgb

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # EXIF orientation -> what undoes it


def read_upright(path: Path) -> bytes:
    """The file, written anew without loss if its EXIF orientation turns or mirrors it. What is no picture is given back as it is."""
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if _turn(image) is None:
                return data
            sink = io.BytesIO()
            upright(image).save(sink, "PPM")
            return sink.getvalue()
    except UNREADABLE:
        return data


def upright(image: Image.Image) -> Image.Image:
    """As RGB. `ImageOps.exif_transpose` would write the other tags anew, and fails where one is of a wrong type."""
    shown = as_rgb(image).copy()  # decoded here, so that the caller may close the file, and that what fails below is the EXIF
    turn = _turn(image)
    return shown if turn is None else shown.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """None for a picture that lies as it is shown, or whose EXIF cannot be read."""
    try:
        return TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except (struct.error, SyntaxError, ValueError, TypeError):
        return None
