"""Hard batches: lines that differ from another line of the batch in a bit or two.

Half-way to HBReID (challenge.md 7): neighbours are found by the Hamming distance of bit vectors, or of the parts of a tag, not by a
classifier. Stateless like `finetune.order`: a step's lines follow from (seed, step). Mined lines come in addition to the order of the
epoch, so "every line once per epoch" holds for the other part of the batch only.
"""

from collections.abc import Iterator, Sequence
from random import Random

import numpy as np

from finetune.datasets.lines import Line, tag_of
from finetune.datasets.records import PEDESTRIAN
from finetune.order import KindBatches
from pipeline.contracts.errors import ConfigError
from pipeline.seeds import derive_seed
from pretrain.order import Place


class HardBatches:
    """The part of this rank of batches of all ranks, a share of each replaced by near lines of the kept ones.

    Raises ConfigError for persons without attributes and vehicles without a tag.
    """

    def __init__(self, batches: KindBatches, records: Sequence[Line], share: float, distance: int) -> None:
        self._batches, self._share, self._distance = batches, share, distance
        self._codes = [_code(record) for record in records]
        self._lines: dict[tuple, list[int]] = {}
        for number, code in enumerate(self._codes):
            self._lines.setdefault(code, []).append(number)
        self._near: dict[tuple, list[tuple]] = {}
        self._tables = {length: _numbered([code for code in self._lines if len(code) == length]) for length in set(map(len, self._lines))}

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[Place]]:
        for step in self._batches.steps:
            batch = self._batches.whole(step)
            rng = Random(derive_seed(self._batches.seed, "mining", step))
            kept = batch[: len(batch) - round(self._share * len(batch))]
            mined = [self._neighbour(kept[place % len(kept)], rng) for place in range(len(batch) - len(kept))]
            mixed = kept + [spare if near is None else near for near, spare in zip(mined, batch[len(kept) :], strict=True)]
            yield self._batches.of_this_rank(mixed)

    def _neighbour(self, place: Place, rng: Random) -> Place | None:
        """A line near the one at `place`, None if it has none."""
        epoch, number = place
        codes = self._codes_near(self._codes[number])
        return (epoch, rng.choice(self._lines[rng.choice(codes)])) if codes else None

    def _codes_near(self, code: tuple) -> list[tuple]:
        if code not in self._near:
            places, table = self._tables[len(code)]
            differing = (table != table[places[code]]).sum(1)
            codes = list(places)
            self._near[code] = [codes[i] for i in np.flatnonzero((differing > 0) & (differing <= self._distance))]
        return self._near[code]


def _numbered(codes: Sequence[tuple]) -> tuple[dict[tuple, int], np.ndarray]:
    """N different codes of L values -> their rows, and (N, L) int32 where equal values have equal numbers."""
    numbers: dict[object, int] = {}
    rows = [[numbers.setdefault(value, len(numbers)) for value in code] for code in codes]
    return {code: row for row, code in enumerate(codes)}, np.array(rows, np.int32)


def _code(line: Line) -> tuple:
    if line.kind == PEDESTRIAN:
        if not line.labels:
            raise ConfigError("mining.share needs attributes, and the lines of this data set have none; set mining.share=0")
        return line.labels
    tag = tag_of(line, "mining.share")
    return (tag.colour, tag.brand, tag.type)
