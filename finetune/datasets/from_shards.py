"""`python -m finetune unpack`: generated shards as a data set of the kind `own`, so that every recipe of this package can train on them.

OUT/images/KEY.jpg, OUT/attributes.json (the shards' attribute space), OUT/captions.jsonl (one line per sample; written last).
"""

import json
from pathlib import Path

from finetune.datasets.own import ATTRIBUTES, JSONL
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_bytes, write_json
from pretrain.shards import ShardReader

SHARD_SPLITS = ("train", "val")


def unpack_shards(shards: Path, out: Path) -> dict[str, int]:
    """Write every sample of the training and validation split; returns their numbers. What is there already is written again.

    Raises ConfigError for a folder without shards, or an `out` that holds another data set.
    """
    if (out / JSONL).is_file() and not (out / ATTRIBUTES).is_file():
        raise ConfigError(f"{out} holds a {JSONL} of another origin; give a new folder")
    counts, lines = {}, []
    for split in SHARD_SPLITS:
        reader = ShardReader(shards, split)
        for number in range(len(reader)):
            sample = reader.read(number)
            image = f"{sample.meta.key}.jpg"
            write_bytes(out / "images" / image, sample.image)
            row = {"image": image, "captions": sample.meta.captions, "identity": str(sample.meta.pid), "split": split}
            lines.append(json.dumps(row | {"labels": sample.meta.labels}, ensure_ascii=False))
        counts[split] = len(reader)
        write_json(out / ATTRIBUTES, reader.attribute_space.to_json())
    write_bytes(out / JSONL, ("\n".join(lines) + "\n").encode())
    return counts
