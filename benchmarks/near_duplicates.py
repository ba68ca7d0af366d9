"""Near-duplicate search over N made-up 64-bit hashes with planted repeats: seconds and memory for each distance.

python benchmarks/near_duplicates.py [N]      default 1,000,000
"""

import resource
import sys
import time

import numpy as np

from generation.near_duplicates import MAX_DISTANCE, find_repeats


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**64, count, np.uint64)
    planted = rng.choice(count // 2, count // 100, replace=False)
    for i, place in enumerate(planted):  # one in a hundred repeats an earlier one with 0 to 4 changed bits
        bits = rng.choice(64, i % (MAX_DISTANCE + 1), replace=False)
        hashes[count // 2 + i] = hashes[place] ^ np.uint64(sum(1 << int(b) for b in bits))
    print(f"{count} hashes, {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB before")
    for distance in range(MAX_DISTANCE + 1):
        started, cpu = time.perf_counter(), time.process_time()
        repeats = find_repeats(hashes, distance)
        wanted = sum(i % (MAX_DISTANCE + 1) <= distance for i in range(len(planted)))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"distance {distance}: {len(repeats)} repeats ({wanted} planted), {time.process_time() - cpu:.1f} s of one core, "
            f"{time.perf_counter() - started:.1f} s by the clock, {memory:.0f} MB at most so far",
            flush=True,
        )


if __name__ == "__main__":
    main()
