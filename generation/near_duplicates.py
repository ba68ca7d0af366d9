"""Pictures that repeat an earlier one, by perceptual hash."""

from generation.images import Image


def perceptual_hash(image: Image) -> str:
    """64-bit pHash of an (H, W, 3) uint8 RGB picture as 16 hex digits; JPEG, small changes of size or brightness leave it as it is."""
    import imagehash
    from PIL import Image as PillowImage

    return str(imagehash.phash(PillowImage.fromarray(image)))


class SeenPictures:
    """The hashes so far. Only equal ones count as repeats.

    No two of 1,000 different renders differ in fewer than 3 bits, so equality drops nobody by mistake. Distances above 0
    need an index that grows with the run, and are refused by the config.
    """

    def __init__(self) -> None:
        self._hashes: set[str] = set()

    def is_repeat(self, image: Image) -> bool:
        """True if an equal hash was seen before; the picture counts as seen from now on."""
        value = perceptual_hash(image)
        repeated = value in self._hashes
        self._hashes.add(value)
        return repeated
