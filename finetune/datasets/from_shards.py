"""`python -m finetune unpack`: generated shards as a data set of the kind `own`, so that every recipe of this package can train on them.

OUT/images/KEY.jpg, OUT/attributes.json (the shards' attribute space), OUT/captions.jsonl (one line per sample; written last).
"""

import json
from pathlib import Path

from finetune.datasets.own import ATTRIBUTES, JSONL
from finetune.datasets.records import SPLITS
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import write_bytes, write_json
from pretrain.shards import ShardReader, open_shards


def unpack_shards(shards: Path, out: Path) -> dict[str, int]:
    """Write every sample of the splits that are there and have a name of SPLITS; returns their numbers. What is there already is written
    again.

    Raises ConfigError for a folder without shards, or an `out` that holds another data set; ContractError for shards without such a split.
    """
    if (out / JSONL).is_file() and not (out / ATTRIBUTES).is_file():
        raise ConfigError(f"{out} holds a {JSONL} of another origin; give a new folder")
    counts, lines = {}, []
    for reader in _readers(shards):
        for number in range(len(reader)):
            sample = reader.read(number)
            image = f"{sample.meta.key}.jpg"
            write_bytes(out / "images" / image, sample.image)
            row = {"image": image, "captions": sample.meta.captions, "identity": str(sample.meta.pid), "split": reader.split}
            lines.append(json.dumps(row | {"labels": sample.meta.labels}, ensure_ascii=False))
        counts[reader.split] = len(reader)
        write_json(out / ATTRIBUTES, reader.attribute_space.to_json())
    write_bytes(out / JSONL, ("\n".join(lines) + "\n").encode())
    return counts


def _readers(shards: Path) -> list[ShardReader]:
    """All opened before anything is written."""
    held = open_shards(str(shards))[1].split_counts
    if not (splits := [split for split in SPLITS if held.get(split)]):
        raise ContractError(f"{shards}: no sample of split {', '.join(SPLITS)}; splits and counts: {held}")
    return [ShardReader(shards, split, one_of=len(splits)) for split in splits]
