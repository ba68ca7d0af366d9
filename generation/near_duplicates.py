"""Pictures that repeat an earlier one, by perceptual hash, over a whole run: exact and in memory, 8 bytes a picture.

Two 64-bit hashes that differ in at most d bits agree in at least one of d + 1 bands of bits. So candidates are found by sorting per band,
and only they are compared. What is near a picture that stays is compared no further: a run of pictures that are all alike, as a collapsed
generator makes them, is no slower than one of different pictures.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from generation.images import Image

MAX_DISTANCE = 4  # bands of 12 bits; with shorter ones the candidates grow faster than the pictures
_FEW = 64  # so many that agree in a band are compared all with all
_STAYS = -1  # owner of a picture that is no repeat
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
    owner = np.full(len(hashes), _STAYS)
    _settle(hashes, np.arange(len(hashes)), max_distance, owner)
    repeats = np.flatnonzero(owner != _STAYS)
    return dict(zip(places[repeats].tolist(), places[owner[repeats]].tolist(), strict=True))


def _settle(hashes: Hashes, members: Places, max_distance: int, owner: Places) -> Places:
    """The members (ascending) that stay; writes who stays in their place to `owner` of the others.

    The first half is settled, then what it leaves of the second: so members are compared with those that stay, not with each other.
    """
    values = hashes[members]
    if all(_largest_group(values & band) <= _FEW for band in _bands(max_distance + 1)):
        return _settle_pairs(values, members, max_distance, owner)
    first, second = np.array_split(members, 2)
    stay = _settle(hashes, first, max_distance, owner)
    found = _find_near(hashes[second], hashes[stay], max_distance)
    is_repeat = found != _STAYS
    owner[second[is_repeat]] = stay[found[is_repeat]]
    return np.concatenate([stay, _settle(hashes, second[~is_repeat], max_distance, owner)])


def _largest_group(bands: Hashes) -> int:
    """How often the most frequent value occurs."""
    ordered = np.sort(bands)
    changes = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return int(np.diff(changes, prepend=0, append=len(ordered)).max())


def _settle_pairs(values: Hashes, members: Places, max_distance: int, owner: Places) -> Places:
    """_settle by comparing all that agree in a band with each other; `values` are the members' hashes."""
    stays = np.ones(len(members), bool)
    pairs = [pair for band in _bands(max_distance + 1) for pair in _pairs(values, band, max_distance)]
    for pair in np.unique(np.concatenate(pairs)).tolist() if pairs else ():  # by later member, then by earlier one
        later, earlier = divmod(pair, len(members))
        if stays[later] and stays[earlier]:
            stays[later] = False
            owner[members[later]] = members[earlier]
    return members[stays]


def _pairs(hashes: Hashes, mask: np.uint64, max_distance: int) -> Iterator[Places]:
    """Near pairs that agree in a band, as later * len(hashes) + earlier. Neighbours in sorted order, then next but one, and so on."""
    band = hashes & mask
    order = np.argsort(band, kind="stable")
    sorted_band = band[order]
    active = np.arange(len(hashes) - 1)
    shift = 1
    while len(active := active[sorted_band[active] == sorted_band[active + shift]]):
        earlier, later = order[active], order[active + shift]  # the sort is stable
        near = _bits(hashes[earlier] ^ hashes[later]) <= max_distance
        if near.any():
            yield later[near] * len(hashes) + earlier[near]
        shift += 1
        active = active[active + shift < len(hashes)]


def _find_near(hashes: Hashes, others: Hashes, max_distance: int) -> Places:
    """For each hash the place of one of `others` that is near, or _STAYS."""
    found = np.full(len(hashes), _STAYS)
    for band in _bands(max_distance + 1):
        order = np.argsort(others & band, kind="stable")
        candidates = others[order]
        todo = np.flatnonzero(found == _STAYS)
        todo = todo[np.argsort(hashes[todo] & band, kind="stable")]  # sorted like the candidates: neighbours in memory
        values = hashes[todo]
        place = np.searchsorted(candidates & band, values & band, "left")
        end = np.searchsorted(candidates & band, values & band, "right")
        while len(open_ := np.flatnonzero(place < end)):
            todo, values, place, end = todo[open_], values[open_], place[open_], end[open_]
            is_near = _bits(values ^ candidates[place]) <= max_distance
            found[todo[is_near]] = order[place[is_near]]
            place = np.where(is_near, end, place + 1)
    return found


def _bands(count: int) -> Iterator[np.uint64]:
    """Masks that cut 64 bits into `count` bands."""
    edges = [round(64 * i / count) for i in range(count + 1)]
    for low, high in pairwise(edges):
        yield np.uint64(((1 << (high - low)) - 1) << low)


def _bits(values: Hashes) -> Hashes:
    """Number of set bits (numpy 1.26 has no bitwise_count)."""
    x = values - ((values >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)
