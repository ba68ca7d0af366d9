"""index.parquet in memory: where each sample of a split lies, in about 80 bytes a sample, which forked loader processes share."""

import io
from typing import NamedTuple

import numpy as np

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import INDEX_COLUMNS, SHARD_PATTERN
from pipeline.tables import read_columns
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
        columns = read_columns(io.BytesIO(data), INDEX_COLUMNS, where=where)
        rows = [row for row, name in enumerate(columns["split"]) if name == split]
        self.splits = sorted(set(columns["split"]))
        shards = [columns["shard"][row] for row in rows]
        self._names = sorted(set(shards))
        if wrong := [name for name in self._names if not isinstance(name, str) or not SHARD_PATTERN.fullmatch(name)]:
            raise ContractError(f"{where}: shard {wrong[0]!r}; accepted: names of tar files beside it")
        place = {name: i for i, name in enumerate(self._names)}
        self._shards = np.array([place[name] for name in shards], np.int32)
        try:
            self._keys = np.array([columns["key"][row].encode("ascii") for row in rows], np.bytes_)
            self._sha256 = np.frombuffer(bytes.fromhex("".join(columns["sha256"][row] for row in rows)), np.uint8).reshape(len(rows), 32)
            self._numbers = np.array([[columns[name][row] for name in _NUMBERS] for row in rows], np.int64).reshape(len(rows), 4)
        except (AttributeError, TypeError, ValueError) as err:
            raise ContractError(
                f"{where}: accepted are keys as text, whole offsets and sha256 of 64 hex digits ({err}); make the shards again"
            ) from err
        if (self._numbers < 0).any():
            raise ContractError(f"{where}: a negative offset or length; make the shards again")

    def __len__(self) -> int:
        return len(self._shards)

    def key(self, number: int) -> str:
        return self._keys[number].decode()

    def entry(self, number: int) -> Entry:
        shard = self._names[self._shards[number]]
        image_at, image_size, meta_at, meta_size = self._numbers[number].tolist()
        image, meta = Span(shard, image_at, image_at + image_size), Span(shard, meta_at, meta_at + meta_size)
        return Entry(self.key(number), image, meta, self._sha256[number].tobytes())
