"""Pictures for `lint` and `report`. The only importer of Pillow in this package, which it loads when it is first needed."""

import base64
import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.contracts.errors import ConfigError

MALFORMED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, AssertionError, struct.error)
"""What Pillow raises for broken files, but for its own DecompressionBombError: a header that promises more pixels than it decodes."""


class UnreadablePictureError(Exception):
    """Bytes that cannot be decoded; says why."""


def jpeg_problem(data: bytes) -> str | None:
    """What is wrong with JPEG bytes, or None: every pixel is decoded, so a file that was cut off is found."""
    from PIL import Image, UnidentifiedImageError

    try:
        with _pillow_errors(), Image.open(io.BytesIO(data)) as image:
            if image.format != "JPEG":
                return f"is {image.format}, not JPEG"
            image.load()
    except UnreadablePictureError as err:
        return "is no picture" if isinstance(err.__cause__, UnidentifiedImageError) else f"is a bad JPEG ({err})"
    return None


@contextmanager
def _pillow_errors() -> Iterator[None]:
    """Pillow's words for broken files as one kind of error."""
    from PIL import Image

    try:
        yield
    except (*MALFORMED, Image.DecompressionBombError) as err:
        raise UnreadablePictureError(str(err)) from err


def picture_size(data: bytes) -> tuple[int, int]:
    """(width, height) in px, from the header."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.size


def require_pillow() -> None:
    """Raises ConfigError where Pillow is not installed, before anything is read."""
    try:
        import PIL.Image  # noqa: F401
    except ImportError as err:
        raise ConfigError("Pillow is not installed, and pictures cannot be decoded without it; install it, or give --no-decode") from err


def thumbnail(data: bytes, height: int, quality: int = 80) -> bytes:
    """Any picture as a small JPEG of at most `height` px. Raises UnreadablePictureError."""
    from PIL import Image

    with _pillow_errors(), Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
        small.thumbnail((4 * height, height))
        sink = io.BytesIO()
        small.save(sink, "JPEG", quality=quality)
    return sink.getvalue()


def jpeg_url(data: bytes) -> str:
    """A JPEG as it can stand in a page."""
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()
