"""Pictures that repeat an earlier one, by perceptual hash, over a whole run: exact and in memory, 8 bytes a picture.

Two 64-bit hashes that differ in at most d bits agree in at least one of d + 1 bands of bits. So candidates are found by sorting once per
band, and only they are compared.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from generation.images import Image

MAX_DISTANCE = 4  # bands of 12 bits; with shorter ones the candidates grow faster than the pictures
Hashes = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


def perceptual_hash(image: Image) -> str:
    """64-bit pHash of an (H, W, 3) uint8 RGB picture as 16 hex digits; JPEG, small changes of size or brightness leave it as it is."""
    import imagehash
    from PIL import Image as PillowImage

    return str(imagehash.phash(PillowImage.fromarray(image)))


def find_repeats(hashes: Hashes, max_distance: int) -> dict[int, int]:
    """Place of each repeat -> place of the earlier picture that stays.

    A picture is a repeat if it differs in at most max_distance bits (0 to MAX_DISTANCE) from an earlier one that is no repeat itself.
    """
    different, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # different hashes in order of first appearance
    repeats = _near(different[order], first[order], max_distance) if max_distance else {}
    owner = first[inverse]
    for place in np.flatnonzero(owner != np.arange(len(hashes))).tolist():  # equal to an earlier one, which may be a repeat itself
        original = int(owner[place])
        repeats[place] = repeats.get(original, original)
    return repeats


def _near(hashes: Hashes, places: Places, max_distance: int) -> dict[int, int]:
    """find_repeats of different hashes; `places` are theirs in the run, ascending."""
    pairs = [pair for band in _bands(max_distance + 1) for pair in _pairs(hashes, band, max_distance)]
    if not pairs:
        return {}
    found = np.unique(np.concatenate(pairs), axis=0)  # by later picture, then by earlier one
    repeats: dict[int, int] = {}
    for later, earlier in found.tolist():
        if later not in repeats and earlier not in repeats:
            repeats[later] = earlier
    return {int(places[later]): int(places[earlier]) for later, earlier in repeats.items()}


def _bands(count: int) -> Iterator[np.uint64]:
    """Masks that cut 64 bits into `count` bands."""
    edges = [round(64 * i / count) for i in range(count + 1)]
    for low, high in pairwise(edges):
        yield np.uint64(((1 << (high - low)) - 1) << low)


def _pairs(hashes: Hashes, mask: np.uint64, max_distance: int) -> Iterator[Places]:
    """(n, 2) pairs (later, earlier) that agree in a band and are near. Neighbours in sorted order, then next but one, and so on."""
    band = hashes & mask
    order = np.argsort(band, kind="stable")
    sorted_band = band[order]
    active = np.arange(len(hashes) - 1)
    shift = 1
    while len(active := active[sorted_band[active] == sorted_band[active + shift]]):
        one, other = order[active], order[active + shift]  # one comes first: the sort is stable
        near = _bits(hashes[one] ^ hashes[other]) <= max_distance
        if near.any():
            yield np.stack([other[near], one[near]], axis=1)
        shift += 1
        active = active[active + shift < len(hashes)]


def _bits(values: Hashes) -> Hashes:
    """Number of set bits (numpy 1.26 has no bitwise_count)."""
    x = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)
