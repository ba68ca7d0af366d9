"""Repeats by perceptual hash, for more pictures than are compared all with all."""

import numpy as np
import numpy.typing as npt
import pytest

from generation.near_duplicates import MAX_DISTANCE, find_repeats

Hashes = npt.NDArray[np.uint64]


def changed(hashes: Hashes, num_bits: int, rng: np.random.Generator) -> Hashes:
    """Each hash with this many of its bits flipped."""
    flipped = rng.random((len(hashes), 64)).argpartition(num_bits, axis=1)[:, :num_bits].astype(np.uint64)
    return hashes ^ np.bitwise_or.reduce(np.uint64(1) << flipped, axis=1)


@pytest.mark.parametrize("distance", range(1, MAX_DISTANCE + 1))
@pytest.mark.parametrize("num_centres", [3, 300])
def test_those_stay_that_the_plain_comparison_keeps(distance: int, num_centres: int) -> None:
    rng = np.random.default_rng(distance)
    centres = rng.choice(rng.integers(0, 2**64, num_centres, np.uint64), 1000)
    hashes = changed(centres, 1, rng)
    hashes[::3] = changed(centres, 3, rng)[::3]
    kept: list[int] = []
    for place, value in enumerate(hashes.tolist()):
        if all((int(hashes[k]) ^ value).bit_count() > distance for k in kept):
            kept.append(place)
    repeats = find_repeats(hashes, distance)
    assert sorted(set(range(1000)) - repeats.keys()) == kept
    for place, original in repeats.items():
        assert original in kept
        assert original < place
        assert (int(hashes[original]) ^ int(hashes[place])).bit_count() <= distance


def test_a_collapsed_generator_takes_no_quadratic_time() -> None:
    """50,000 pictures 3 bits from one are 10^9 near pairs: minutes and gigabytes if they are all looked at."""
    rng = np.random.default_rng(0)
    hashes = changed(np.full(50_000, 0x9E3779B97F4A7C15, np.uint64), 3, rng)
    repeats = find_repeats(hashes, 4)
    stay = hashes[sorted(set(range(len(hashes))) - repeats.keys())].tolist()
    assert 1 < len(stay) <= 64 // 3  # further than 4 bits from each other: no two have changed the same bit
    assert all((one ^ other).bit_count() > 4 for i, one in enumerate(stay) for other in stay[:i])
