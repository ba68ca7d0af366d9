"""index.parquet in memory: where each sample of a split lies, in about 80 bytes a sample, which forked loader processes share."""

import io
from collections.abc import Mapping
from itertools import compress
from typing import Any, NamedTuple

import numpy as np

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import INDEX_COLUMNS, SHARD_PATTERN
from pipeline.tables import iter_columns
from pretrain.store import Span

_NUMBERS = ("image_offset", "image_bytes", "meta_offset", "meta_bytes")
_GAP = 64 * 1024  # members of a sample stand side by side; up to this distance one read fetches both


class Entry(NamedTuple):
    """Where a sample lies. span: of both members, or None where they lie far apart; sha256: 32 bytes, over picture, then JSON."""

    key: str
    image: Span
    meta: Span
    sha256: bytes

    @property
    def span(self) -> Span | None:
        start, stop = min(self.image.start, self.meta.start), max(self.image.stop, self.meta.stop)
        room = self.image.stop - self.image.start + self.meta.stop - self.meta.start + _GAP
        return Span(self.image.name, start, stop) if stop - start <= room else None


class ShardIndex:
    """The entries of one split, by number, in the order of the file."""

    def __init__(self, data: bytes, split: str, where: str) -> None:
        """data: content of index.parquet. Raises ContractError naming `where` for a file that is none or leads out of its folder."""
        places: dict[str, int] = {}
        shards, sha256, numbers, keys = bytearray(), bytearray(), bytearray(), [np.empty(0, np.bytes_)]
        for columns in iter_columns(io.BytesIO(data), INDEX_COLUMNS, where):
            part = _packed(columns, split, places, where)
            keys.append(part.keys)
            for grown, array in ((shards, part.shards), (sha256, part.sha256), (numbers, part.numbers)):
                grown += array.tobytes()  # grows in place: joining arrays would need them twice for a moment
        self._names, self._keys = list(places), np.concatenate(keys)
        self._shards = np.frombuffer(shards, np.int32)
        self._sha256 = np.frombuffer(sha256, np.uint8).reshape(-1, 32)
        self._numbers = np.frombuffer(numbers, np.int64).reshape(-1, len(_NUMBERS))

    def __len__(self) -> int:
        return len(self._shards)

    def key(self, number: int) -> str:
        return self._keys[number].decode()

    def entry(self, number: int) -> Entry:
        shard = self._names[self._shards[number]]
        image_at, image_size, meta_at, meta_size = self._numbers[number].tolist()
        image, meta = Span(shard, image_at, image_at + image_size), Span(shard, meta_at, meta_at + meta_size)
        return Entry(self.key(number), image, meta, self._sha256[number].tobytes())


class _Part(NamedTuple):
    """Some rows: (N,) int32, (N,) bytes, (N, 32) uint8, (N, 4) int64."""

    shards: np.ndarray
    keys: np.ndarray
    sha256: np.ndarray
    numbers: np.ndarray


def _packed(columns: Mapping[str, list[Any]], split: str, places: dict[str, int], where: str) -> _Part:
    """The rows of a split. places: shard name -> its number, to which new names are added."""
    chosen = [name == split for name in columns["split"]]
    rows = {name: list(compress(values, chosen)) for name, values in columns.items()}
    for name in rows["shard"]:
        if name not in places:
            if not isinstance(name, str) or not SHARD_PATTERN.fullmatch(name):
                raise ContractError(f"{where}: shard {name!r}; accepted: names of tar files beside it")
            places[name] = len(places)
    try:
        shards = np.array([places[name] for name in rows["shard"]], np.int32)
        keys = np.array([key.encode("ascii") for key in rows["key"]], np.bytes_)
        sha256 = np.frombuffer(bytes.fromhex("".join(rows["sha256"])), np.uint8).reshape(len(shards), 32)
        numbers = np.array([rows[name] for name in _NUMBERS], np.int64).T
    except (AttributeError, TypeError, ValueError) as err:
        raise ContractError(
            f"{where}: accepted are keys as text, whole offsets and sha256 of 64 hex digits ({err}); make the shards again"
        ) from err
    if (numbers < 0).any():
        raise ContractError(f"{where}: a negative offset or length; make the shards again")
    return _Part(shards, keys, sha256, numbers)
