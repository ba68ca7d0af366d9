"""Pictures of any camera, the way up that a viewer shows them. Data sets are read as published codes read them: as they lie in the file."""

import io
from pathlib import Path

from PIL import ExifTags, Image, ImageOps

from pretrain.pictures import UNREADABLE, as_rgb


def read_upright(path: Path) -> bytes:
    """The file, written anew without loss if its EXIF orientation turns or mirrors it. What is no picture is given back as it is."""
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
                return data
            sink = io.BytesIO()
            as_rgb(ImageOps.exif_transpose(image)).save(sink, "PPM")
            return sink.getvalue()
    except UNREADABLE:
        return data
