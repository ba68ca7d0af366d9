"""Which lines a step takes: a batch of pedestrians or a batch of vehicles, in turn, in proportion to their numbers.

Each kind is searched apart in the end, so its own kind holds the negatives worth learning from; and the texts of vehicles are short, so
they are not padded to the length of the others. As in `pretrain.order`, everything follows from the number of the step: within a kind,
each line comes once per epoch, in an order that depends on (seed, kind, epoch) alone, for any number of ranks.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from finetune.datasets.records import KINDS
from pipeline.contracts.errors import ConfigError
from pipeline.seeds import derive_seed
from pretrain.order import Place, check_batch, places


class KindBatches:
    """Batches of one rank as lists of places (epoch, line number), for the steps first_step to first_step + num_steps - 1.

    Raises ConfigError if the global batch cannot be cut evenly over the ranks, or exceeds the lines of a kind.
    """

    def __init__(
        self, seed: int, records: Sequence[Any], global_batch: int, first_step: int, num_steps: int, rank: int = 0, world_size: int = 1
    ) -> None:
        groups = {kind: [i for i, record in enumerate(records) if record.kind == kind] for kind in KINDS}
        self.groups = {kind: lines for kind, lines in groups.items() if lines}
        for kind, lines in self.groups.items():
            try:
                check_batch(global_batch, world_size, len(lines))
            except ConfigError as err:
                raise ConfigError(f"{kind} lines of the train split: {err}") from err
        self.seed, self.global_batch = seed, global_batch
        self.steps = range(first_step, first_step + num_steps)
        self.local = global_batch // world_size
        self.offset = rank * self.local

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[list[Place]]:
        for step in self.steps:
            yield self.of_this_rank(self.whole(step))

    def whole(self, step: int) -> list[Place]:
        """The batch of all ranks."""
        kind, number = self.turn(step)
        lines, start = self.groups[kind], number * self.global_batch
        stream = places(derive_seed(self.seed, kind), len(lines), start, start + self.global_batch)
        return [(epoch, lines[index]) for epoch, index in stream]

    def of_this_rank(self, batch: list[Place]) -> list[Place]:
        return batch[self.offset : self.offset + self.local]

    def turn(self, step: int) -> tuple[str, int]:
        """The kind of a step and how many batches of that kind came before it: the second kind moves on whenever its share is due."""
        first, *second = self.groups
        if not second:
            return first, step
        share, total = len(self.groups[second[0]]), sum(map(len, self.groups.values()))
        done, due = step * share // total, (step + 1) * share // total
        return (second[0], done) if due > done else (first, step - done)
