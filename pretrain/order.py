"""Which sample stands at which place of an endless stream. Stateless, so that a training's place in it is one integer.

Place p belongs to epoch p // n; each epoch is a permutation of all n samples that depends on (seed, epoch) alone. A step takes the next
`global_batch` places, each rank its own consecutive part of them. So every sample is seen once per epoch, in the same global order, for
any number of ranks, also when that number changes on the way; a batch may straddle two epochs.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from pipeline.contracts.errors import ConfigError
from pipeline.seeds import derive_seed

Place = tuple[int, int]  # (epoch, sample number)


@lru_cache(maxsize=2)  # a batch touches two epochs at most
def permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """(size,) int64. Sorted from the raw words of Philox, whose stream no version of numpy changes."""
    words = np.random.Philox(key=derive_seed(seed, "order", epoch)).random_raw(size)
    return np.argsort(words, kind="stable")


def places(seed: int, size: int, start: int, stop: int) -> list[Place]:
    """The samples at places start to stop - 1 of the stream."""
    return [(p // size, int(permutation(seed, p // size, size)[p % size])) for p in range(start, stop)]


def check_batch(global_batch: int, world_size: int, num_samples: int, parts: int = 1) -> None:
    """Raises ConfigError if a batch cannot be cut evenly over the ranks and their parts, or holds a sample twice."""
    if global_batch % world_size == 0 and global_batch // world_size % parts:
        raise ConfigError(f"train.accumulation={parts} does not divide the {global_batch // world_size} samples of a rank; use a divisor")
    if global_batch % world_size:
        below = global_batch // world_size * world_size
        use = f"{below} or {below + world_size}" if below else str(world_size)
        raise ConfigError(f"train.global_batch={global_batch} is not a multiple of the {world_size} ranks; use {use}")
    if global_batch > num_samples:
        raise ConfigError(f"train.global_batch={global_batch} exceeds the {num_samples} training samples; use {num_samples} or fewer")


class RankBatches:
    """Batches of one rank as lists of places, from `position` on, for `num_steps` steps. Each iteration starts there again."""

    def __init__(
        self, seed: int, num_samples: int, global_batch: int, position: int, num_steps: int, rank: int = 0, world_size: int = 1
    ) -> None:
        check_batch(global_batch, world_size, num_samples)
        self.seed, self.num_samples, self.global_batch = seed, num_samples, global_batch
        self.position, self.num_steps = position, num_steps
        self.local = global_batch // world_size
        self.offset = rank * self.local

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[Place]]:
        for step in range(self.num_steps):
            start = self.position + step * self.global_batch + self.offset
            yield places(self.seed, self.num_samples, start, start + self.local)
