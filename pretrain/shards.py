"""Random access to the samples of a run's shards, through their index. No tar is walked, no process keeps state.

Reads runs/NAME/shards as `generation.shard` writes it (index.parquet, manifest.json, tars), here or behind a URL (`pretrain.store`).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.contracts.manifest import ShardManifest
from pipeline.contracts.sample import Sample, decode_meta
from pipeline.paths import INDEX_FILE, MANIFEST_FILE
from pretrain.shard_index import Entry, ShardIndex
from pretrain.store import Span, Store, open_store


class NoSamplesError(ContractError):
    """Shards without a sample of the split."""


class ShardReader:
    """Samples of one split by number, in the order of the index."""

    def __init__(self, folder: str | Path, split: str, one_of: int = 1) -> None:
        """one_of: how many shard sets are read in turn. Raises ConfigError for an address without shards, NoSamplesError for a split
        without samples."""
        self.folder, self.split = str(folder), split
        self._store, manifest = open_shards(self.folder, one_of)
        self.attribute_space = AttributeSpace.from_json(manifest.attribute_space)
        data = self._store.read_file(INDEX_FILE)
        self._digest = hashlib.sha256(data).hexdigest()
        self._index = ShardIndex(data, split, self._store.where(INDEX_FILE))
        if not len(self._index):
            raise NoSamplesError(
                f"{self._store.where(INDEX_FILE)}: no sample of split {split!r}; splits and counts: {manifest.split_counts}"
            )

    def __len__(self) -> int:
        return len(self._index)

    @property
    def folders(self) -> tuple[str, ...]:
        """Of each shard set; see `pretrain.mixture`."""
        return (self.folder,)

    @property
    def is_remote(self) -> bool:
        return self._store.is_remote

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of samples of each shard set; see `pretrain.mixture`."""
        return (len(self),)

    @property
    def quotas(self) -> tuple[int, ...]:
        """Places of each shard set in a block of the stream; see `pretrain.order`."""
        return (1,)

    def digest(self) -> str:
        """Of the index, which names every sample's sha256: equal for equal data, wherever it lies."""
        return self._digest

    def key(self, number: int) -> str:
        return self._index.key(number)

    def where(self, number: int) -> str:
        """Shard and key of a sample, for messages."""
        entry = self._index.entry(number)
        return f"{self._store.where(entry.image.name)}, sample {entry.key}"

    def set_of(self, number: int) -> int:
        """The shard set of a sample; see `pretrain.mixture`."""
        return 0

    def read(self, number: int) -> Sample:
        """Raises ContractError naming shard and key if the bytes are not those of the index."""
        return self.read_many([number])[0]

    def read_many(self, numbers: Sequence[int]) -> list[Sample]:
        """As `read`; from a remote store all at once, where it can."""
        entries = [self._index.entry(number) for number in numbers]
        spans = [span for entry in entries for span in _spans(entry)]
        found = dict(zip(spans, self._store.read(spans), strict=True))
        return [self._checked(entry, found) for entry in entries]

    def _checked(self, entry: Entry, found: dict[Span, bytes]) -> Sample:
        image, meta = _contents(entry, found)
        where = f"{self._store.where(entry.image.name)}, sample {entry.key}"
        checksum = hashlib.sha256(image)
        checksum.update(meta)
        if checksum.digest() != entry.sha256:
            raise ContractError(f"{where}: bytes differ from the index (sha256); make the shards again or copy them anew")
        return Sample(decode_meta(meta, where), image)


def open_shards(folder: str, one_of: int = 1) -> tuple[Store, ShardManifest]:
    """Raises ConfigError for an address without shards, ContractError for a manifest that is none."""
    store = open_store(folder, one_of)
    if not store.exists(INDEX_FILE):
        raise ConfigError(f"data.shards={folder}: no {INDEX_FILE} there; give the shards folder of a finished run, runs/NAME/shards")
    return store, ShardManifest.parse(store.read_file(MANIFEST_FILE), store.where(MANIFEST_FILE))


def _spans(entry: Entry) -> tuple[Span, ...]:
    """One read, or two where the members lie far apart."""
    whole = entry.span
    return (entry.image, entry.meta) if whole is None else (whole,)


def _contents(entry: Entry, found: dict[Span, bytes]) -> tuple[bytes, bytes]:
    """Picture and JSON."""
    whole = entry.span
    if whole is None:
        return found[entry.image], found[entry.meta]
    data = found[whole]
    image, meta = (data[span.start - whole.start : span.stop - whole.start] for span in (entry.image, entry.meta))
    return image, meta
