"""Random access to the samples of a run's shards, through their index. No tar is walked, no process keeps state.

Reads runs/NAME/shards as `generation.shard` writes it (index.parquet, manifest.json, tars).
"""

import hashlib
import os
from pathlib import Path

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.contracts.manifest import ShardManifest
from pipeline.contracts.sample import INDEX_COLUMNS, Sample, decode_meta
from pipeline.fileio import read_json, sha256_file
from pipeline.tables import read_rows


class ShardReader:
    """Samples of one split by number, in the order of the index."""

    def __init__(self, folder: Path, split: str) -> None:
        """Raises ConfigError for a folder without shards, ContractError for a split without samples."""
        self.folder, self.split = folder, split
        self.index_path = folder / "index.parquet"
        if not self.index_path.is_file():
            raise ConfigError(f"data.shards={folder}: no index.parquet there; give the shards folder of a finished run, runs/NAME/shards")
        manifest_path = folder / "manifest.json"
        manifest = ShardManifest.from_json(read_json(manifest_path), str(manifest_path))
        self.attribute_space = AttributeSpace.from_json(manifest.attribute_space)
        self._rows = [row for row in read_rows(self.index_path, INDEX_COLUMNS) if row["split"] == split]
        if not self._rows:
            raise ContractError(f"{self.index_path}: no sample of split {split!r}; splits and counts: {manifest.split_counts}")
        self._files: dict[str, int] = {}  # shard name -> open descriptor, of this process

    def __len__(self) -> int:
        return len(self._rows)

    def digest(self) -> str:
        """Of the index, which names every sample's sha256: equal for equal data, wherever it lies."""
        return sha256_file(self.index_path)

    def key(self, number: int) -> str:
        return self._rows[number]["key"]

    def read(self, number: int) -> Sample:
        """Raises ContractError naming shard and key if the bytes are not those of the index."""
        row = self._rows[number]
        image = self._bytes(row["shard"], row["image_offset"], row["image_bytes"])
        meta = self._bytes(row["shard"], row["meta_offset"], row["meta_bytes"])
        where = f"{self.folder / row['shard']}, sample {row['key']}"
        if hashlib.sha256(image + meta).hexdigest() != row["sha256"]:
            raise ContractError(f"{where}: bytes differ from the index (sha256); make the shards again or copy them anew")
        return Sample(decode_meta(meta, where), image)

    def _bytes(self, shard: str, offset: int, size: int) -> bytes:
        if shard not in self._files:
            try:
                self._files[shard] = os.open(self.folder / shard, os.O_RDONLY)
            except OSError as err:
                raise ContractError(f"{self.folder / shard} cannot be opened ({err.strerror}); the index names it") from err
        return os.pread(self._files[shard], size, offset)

    def __getstate__(self) -> dict[str, object]:
        """Loader processes open their own files."""
        return {**self.__dict__, "_files": {}}
