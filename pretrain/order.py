"""Which sample stands at which place of an endless stream. Stateless, so that a training's place in it is one integer.

**One shard set** of n samples: place p belongs to epoch p // n; each epoch is a permutation of all n samples that depends on (seed, epoch)
alone.

**A mixture** of sets with quotas q_1, q_2, ...: the stream is cut into blocks of N = q_1 + q_2 + ... places. Each block holds exactly q_s
places of set s, arranged by a permutation of (seed, block). The places of set s, in order, are a stream of its own as above: each of its
samples comes once before any comes again, and its epochs are its own, apart from those of other sets. An epoch of the mixture, as
`train.epochs` counts, is as many places as all sets together have samples.

A step takes the next `global_batch` places, each rank its own consecutive part of them. So the global order is the same for any number of
ranks, also when that number changes on the way; a batch may straddle two epochs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate

import numpy as np

from pipeline.contracts.errors import ConfigError
from pipeline.seeds import derive_seed

Place = tuple[int, int]  # (epoch of its set, sample number); in a mixture the samples of a set are numbered after those of the sets before


def permutation(seed: int, epoch: int, size: int, number: int = 0) -> np.ndarray:
    """(size,) int64, of shard set `number`. Sorted from the raw words of Philox, whose stream no version of numpy changes."""
    return _shuffled(size, seed, "order", epoch, *((number,) if number else ()))


@lru_cache(maxsize=64)
def _arranged(seed: int, block: int, quotas: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Of each place of a block: its set, and how many places of that set stand before it in the block."""
    sets = np.repeat(np.arange(len(quotas)), quotas)[_shuffled(sum(quotas), seed, "mixture", block)]
    before = np.zeros(len(sets), np.int64)
    for number, quota in enumerate(quotas):
        before[sets == number] = np.arange(quota)
    return sets, before


_recent = lru_cache(maxsize=16)(permutation)  # a batch touches two epochs of a set at most


def _shuffled(size: int, seed: int, *what: str | int) -> np.ndarray:
    words = np.random.Philox(key=derive_seed(seed, *what)).random_raw(size)
    return np.argsort(words, kind="stable")


@dataclass(frozen=True)
class Order:
    """The stream over shard sets of `sizes` samples with `quotas` places in every block."""

    seed: int
    sizes: tuple[int, ...]
    quotas: tuple[int, ...] = (1,)

    @cached_property
    def _permutation(self) -> Callable[[int, int, int, int], np.ndarray]:
        """With memory for two epochs of every set, and two to spare."""
        return lru_cache(maxsize=2 * len(self.sizes) + 2)(permutation)

    def places(self, start: int, stop: int) -> list[Place]:
        """The samples at places start to stop - 1 of the stream."""
        if len(self.sizes) == 1:
            return places(self.seed, self.sizes[0], start, stop)
        first = [0, *accumulate(self.sizes)]
        block_size = sum(self.quotas)
        found = []
        for place in range(start, stop):
            block, offset = divmod(place, block_size)
            sets, before = _arranged(self.seed, block, self.quotas)
            number = int(sets[offset])
            size = self.sizes[number]
            epoch, rest = divmod(block * self.quotas[number] + int(before[offset]), size)
            found.append((epoch, first[number] + int(self._permutation(self.seed, epoch, size, number)[rest])))
        return found


def places(seed: int, size: int, start: int, stop: int) -> list[Place]:
    """The samples of one set at places start to stop - 1 of its stream."""
    return [(p // size, int(_recent(seed, p // size, size)[p % size])) for p in range(start, stop)]


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


def check_shares(global_batch: int, sizes: Sequence[int], quotas: Sequence[int], names: Sequence[str]) -> None:
    """Raises ConfigError if the share of a shard set in one batch exceeds its samples, so that a batch would hold samples twice."""
    for size, quota, name in zip(sizes, quotas, names, strict=True):
        share = global_batch * quota / sum(quotas)
        if share > size:
            raise ConfigError(
                f"data.shards: {share:g} of the {global_batch} samples of a batch come from {name}, which has {size}; "
                f"lower its weight or train.global_batch"
            )


class RankBatches:
    """Batches of one rank as lists of places, from `position` on, for `num_steps` steps. Each iteration starts there again."""

    def __init__(self, order: Order, global_batch: int, position: int, num_steps: int, rank: int = 0, world_size: int = 1) -> None:
        check_batch(global_batch, world_size, sum(order.sizes))
        self.order, self.global_batch = order, global_batch
        self.position, self.num_steps = position, num_steps
        self.local = global_batch // world_size
        self.offset = rank * self.local

    def __len__(self) -> int:
        return self.num_steps

    def __iter__(self) -> Iterator[list[Place]]:
        for step in range(self.num_steps):
            start = self.position + step * self.global_batch + self.offset
            yield self.order.places(start, start + self.local)
