"""Near-duplicate search over N made-up 64-bit hashes: seconds and memory for each distance.

Twice: different pictures with planted repeats, and those of a collapsed generator, each at most 4 bits from one and the same.

python benchmarks/near_duplicates.py [N]      default 1,000,000
"""

import sys
import time

import numpy as np
from machine import peak_mb

from generation.near_duplicates import MAX_DISTANCE, Hashes, find_repeats


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rng = np.random.default_rng(0)
    print(f"{count} hashes, {peak_mb():.0f} MB before")
    hashes, wanted = planted(count, rng)
    for distance in range(MAX_DISTANCE + 1):
        measure(f"planted ({wanted[distance]})", hashes, distance)
    hashes = collapsed(count, rng)
    for distance in range(MAX_DISTANCE + 1):
        measure("collapsed", hashes, distance)


def planted(count: int, rng: np.random.Generator) -> tuple[Hashes, list[int]]:
    """One in a hundred repeats an earlier one with 0 to 4 changed bits; also how many repeats there are at each distance."""
    hashes = rng.integers(0, 2**64, count, np.uint64)
    originals = rng.choice(count // 2, count // 100, replace=False)
    for i, place in enumerate(originals):
        bits = rng.choice(64, i % (MAX_DISTANCE + 1), replace=False)
        hashes[count // 2 + i] = hashes[place] ^ np.uint64(sum(1 << int(b) for b in bits))
    changed = np.arange(len(originals)) % (MAX_DISTANCE + 1)
    return hashes, [int((changed <= distance).sum()) for distance in range(MAX_DISTANCE + 1)]


def collapsed(count: int, rng: np.random.Generator) -> Hashes:
    hashes = np.full(count, rng.integers(0, 2**64, dtype=np.uint64))
    for _ in range(MAX_DISTANCE):
        hashes ^= np.uint64(1) << rng.integers(0, 64, count, np.uint64)
    return hashes


def measure(name: str, hashes: Hashes, distance: int) -> None:
    started, cpu = time.perf_counter(), time.process_time()
    repeats = find_repeats(hashes, distance)
    print(
        f"{name}, distance {distance}: {len(repeats)} repeats, {time.process_time() - cpu:.1f} s of one core, "
        f"{time.perf_counter() - started:.1f} s by the clock, {peak_mb():.0f} MB at most so far",
        flush=True,
    )


if __name__ == "__main__":
    main()
