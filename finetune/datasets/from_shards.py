"""`python -m finetune unpack`: generated shards as a data set of the kind `own`, so that every recipe of this package can train on them.

OUT/unpacked.json (digest of the shards; written first), OUT/images/KEY.jpg, OUT/attributes.json (the shards' attribute space),
OUT/captions.jsonl (one line per sample; written last).
"""

import json
import os
from pathlib import Path

from finetune.datasets.own import ATTRIBUTES, FILES, JSONL
from finetune.datasets.records import SPLITS
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import atomic_open, read_json, write_bytes, write_json
from pretrain.shards import ShardReader, open_shards

ORIGIN = "unpacked.json"


def unpack_shards(shards: Path, out: Path) -> dict[str, int]:
    """Write every sample of the splits that are there and have a name of SPLITS; returns their numbers. What is there already is written
    again.

    Raises ConfigError for a folder without shards, or an `out` that holds another data set; ContractError for shards without such a split.
    """
    readers = _readers(shards)
    _claim(out, readers[0].digest())
    with atomic_open(out / JSONL) as file:
        for reader in readers:
            write_json(out / ATTRIBUTES, reader.attribute_space.to_json())
            for number in range(len(reader)):
                sample = reader.read(number)
                image = f"{sample.meta.key}.jpg"
                write_bytes(out / "images" / image, sample.image, lasting=False)
                row = {"image": image, "captions": sample.meta.captions, "identity": str(sample.meta.pid), "split": reader.split}
                file.write((json.dumps(row | {"labels": sample.meta.labels}, ensure_ascii=False) + "\n").encode())
        os.sync()  # the pictures at once, before the file that names them
    return {reader.split: len(reader) for reader in readers}


def _claim(out: Path, digest: str) -> None:
    """Leave a note in `out` of the shards that are unpacked there, before anything else: pictures of two sets must not mix."""
    note = {"shards": digest}
    found = read_json(out / ORIGIN) if (out / ORIGIN).is_file() else None
    held = {name for name in FILES if (out / name).is_file()}
    if held - {JSONL} or (found != note and (found is not None or held)):
        raise ConfigError(f"{out} holds a data set of another origin than these shards; give a new folder, or delete it")
    write_json(out / ORIGIN, note)


def _readers(shards: Path) -> list[ShardReader]:
    """All opened before anything is written."""
    held = open_shards(str(shards))[1].split_counts
    if not (splits := [split for split in SPLITS if held.get(split)]):
        raise ContractError(f"{shards}: no sample of split {', '.join(SPLITS)}; splits and counts: {held}")
    return [ShardReader(shards, split, one_of=len(splits)) for split in splits]
