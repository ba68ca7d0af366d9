"""Several shard sets as one: `data.shards` as a list of folders with weights. Which sample comes when is said in `pretrain.order`."""

import bisect
from collections.abc import Sequence
from fractions import Fraction
from functools import reduce
from itertools import accumulate
from math import gcd, lcm
from typing import Protocol

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.sample import Sample
from pipeline.fileio import digest
from pretrain.config import DataConfig, Mixture
from pretrain.shards import NoSamplesError, ShardReader

LARGEST_BLOCK = 10_000


class Samples(Protocol):
    """What a training or evaluation reads: `ShardReader` for one set, `MixtureReader` for several. Numbers run over all sets."""

    @property
    def folders(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    @property
    def is_remote(self) -> bool: ...

    @property
    def attribute_space(self) -> AttributeSpace: ...

    @property
    def sizes(self) -> tuple[int, ...]: ...

    @property
    def quotas(self) -> tuple[int, ...]: ...

    def digest(self) -> str: ...

    def where(self, number: int) -> str: ...

    def set_of(self, number: int) -> int: ...

    def read(self, number: int) -> Sample: ...

    def read_many(self, numbers: Sequence[int]) -> list[Sample]: ...


def open_samples(shards: str | Mixture, split: str, with_own_space: bool = False) -> Samples:
    """Of `data.shards`. with_own_space: `data.attributes` is given, so the sets' spaces may differ.

    Raises ConfigError or ContractError for sets that cannot be read, or not together.
    """
    if isinstance(shards, str):
        return ShardReader(shards, split)
    readers = [ShardReader(part.shards, split, one_of=len(shards)) for part in shards]
    return MixtureReader(readers, block_quotas([part.weight for part in shards]), with_own_space)


def open_gallery(data: DataConfig) -> Samples:
    """`data.eval_split` of all sets that have one, as one gallery. Raises as `open_samples` does, NoSamplesError if no set has one."""
    if isinstance(data.shards, str):
        return open_samples(data.shards, data.eval_split)
    readers, lacking = [], []
    for part in data.shards:
        try:
            readers.append(ShardReader(part.shards, data.eval_split, one_of=len(data.shards)))
        except NoSamplesError as err:
            lacking.append(err)
    if not readers:
        raise lacking[0]
    return MixtureReader(readers, (1,) * len(readers), data.attributes is not None)


def block_quotas(weights: Sequence[float]) -> tuple[int, ...]:
    """Whole numbers in the exact proportion of the weights as they are written in decimals: 0.7, 0.2, 0.1 give 7, 2, 1."""
    exact = [Fraction(repr(weight)) for weight in weights]
    scale = lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    common = reduce(gcd, whole)
    quotas = tuple(number // common for number in whole)
    if sum(quotas) > LARGEST_BLOCK:
        raise ConfigError(
            f"data.shards: weights {list(weights)} are in the proportion {':'.join(map(str, quotas))}, exact only over {sum(quotas)} "
            f"samples; accepted: up to {LARGEST_BLOCK}, so give weights of fewer digits"
        )
    return quotas


class MixtureReader:
    """Samples of several sets, numbered one set after the other."""

    def __init__(self, readers: Sequence[ShardReader], quotas: tuple[int, ...], with_own_space: bool) -> None:
        first = readers[0]
        for other in readers[1:]:
            if other.attribute_space != first.attribute_space and not with_own_space:
                raise ConfigError(
                    f"data.shards: {first.folder} has the attributes of {first.attribute_space.name!r}, {other.folder} of "
                    f"{other.attribute_space.name!r}, which differ; give data.attributes, whose names are looked up in each sample"
                )
        self._readers, self.quotas = list(readers), quotas
        self._first = [0, *accumulate(len(reader) for reader in readers)]
        self.attribute_space = first.attribute_space

    def __len__(self) -> int:
        return self._first[-1]

    @property
    def folders(self) -> tuple[str, ...]:
        return tuple(reader.folder for reader in self._readers)

    @property
    def is_remote(self) -> bool:
        return any(reader.is_remote for reader in self._readers)

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(reader) for reader in self._readers)

    def digest(self) -> str:
        """Of all sets, their order and proportions."""
        return digest([[reader.digest(), quota] for reader, quota in zip(self._readers, self.quotas, strict=True)])

    def set_of(self, number: int) -> int:
        """0-based, in the order of the config."""
        return bisect.bisect_right(self._first, number) - 1

    def where(self, number: int) -> str:
        chosen = self.set_of(number)
        return self._readers[chosen].where(number - self._first[chosen])

    def read(self, number: int) -> Sample:
        return self.read_many([number])[0]

    def read_many(self, numbers: Sequence[int]) -> list[Sample]:
        """Set by set; the samples come back in the order asked for."""
        found: dict[int, Sample] = {}
        for chosen, reader in enumerate(self._readers):
            own = [number for number in dict.fromkeys(numbers) if self.set_of(number) == chosen]
            if own:
                samples = reader.read_many([number - self._first[chosen] for number in own])
                found.update(zip(own, samples, strict=True))
        return [found[number] for number in numbers]
