"""Pictures for `lint` and `report`. The only importer of Pillow in this package, which it loads when it is first needed."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.contracts.errors import ConfigError


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
    """Pillow's words for broken files, also for one whose header promises more pixels than it decodes, as one kind of error."""
    from PIL import Image

    try:
        yield
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as err:
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


def thumbnail(data: bytes, height: int) -> bytes:
    """Any picture as a small JPEG of at most `height` px. Raises UnreadablePictureError."""
    from PIL import Image

    with _pillow_errors(), Image.open(io.BytesIO(data)) as image:
        small = image.convert("RGB")
        small.thumbnail((4 * height, height))
        sink = io.BytesIO()
        small.save(sink, "JPEG", quality=80)
    return sink.getvalue()
