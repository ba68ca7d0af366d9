"""What stands in KEY.json of all samples of a folder of shards, as columns, shard by shard. Reads no picture."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from pipeline.contracts.attributes import MISSING, AttributeSpace
from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import SHARD_PATTERN, decode_meta
from pipeline.paths import INDEX_FILE
from pipeline.tables import iter_rows
from pipeline.tars import read_at


def sample_tables(folder: Path, space: AttributeSpace, wanted: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    """The wanted fields of the samples of each shard in the index. Raises ContractError for damage."""
    if not (index := folder / INDEX_FILE).exists():
        raise ContractError(f"{index} does not exist; copy it anew, or make the shards again: `passerby run RUN --redo shard`")
    for name, rows in groupby(iter_rows(index, ("shard", "key", "meta_offset", "meta_bytes")), key=lambda row: row["shard"]):
        if not isinstance(name, str) or not SHARD_PATTERN.fullmatch(name):
            raise ContractError(f"{index}: shard {name!r}; accepted: the name of a tar file beside it")
        metas, path = [], folder / name
        try:
            with open(path, "rb") as tar:
                for row in rows:
                    where = f"{path}, sample {row['key']}"
                    metas.append(meta := decode_meta(read_at(tar, row["meta_offset"], row["meta_bytes"]), where))
                    if len(meta.labels) != len(space) or any(label not in (0, 1, MISSING) for label in meta.labels):
                        raise ContractError(f"{where}: labels {meta.labels}; accepted: {len(space)} of 0, 1, -1; `passerby lint` says more")
        except OSError as err:
            raise ContractError(f"{path} cannot be read ({err.strerror}); copy it anew") from err
        yield {field: [getattr(meta, field) for meta in metas] for field in wanted}
