"""A tiny shard set and a tiny recipe, so that trainings run in seconds before any real data exists."""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pipeline.config import build
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import SampleMeta, encode_meta, make_key
from pipeline.fileio import write_json
from pipeline.tables import write_rows
from pipeline.tars import read_tar, write_tar
from pretrain.config import PretrainConfig

COLOURS = {"black": (20, 20, 20), "white": (235, 235, 235), "red": (200, 30, 30), "blue": (40, 60, 200), "green": (40, 160, 60)}


def make_shards(folder: Path, train: int = 12, val: int = 4) -> Path:
    """A shard a split, of coloured rectangles, described as their upper and lower colour."""
    rows = []
    splits = {"train": range(train), "val": range(train, train + val)}
    for split, numbers in ((split, numbers) for split, numbers in splits.items() if numbers):
        shard = f"{split}-000000.tar"
        write_tar(folder / shard, [member for number in numbers for member in _members(number)])
        members = list(read_tar(folder / shard))
        for image, meta in zip(members[::2], members[1::2], strict=True):
            row: dict[str, Any] = {"key": image.name.removesuffix(".jpg"), "split": split, "shard": shard}
            row |= {"image_offset": image.offset, "image_bytes": len(image.data)}
            row |= {"meta_offset": meta.offset, "meta_bytes": len(meta.data)}
            rows.append(row | {"sha256": hashlib.sha256(image.data + meta.data).hexdigest()})
    write_rows(folder / "index.parquet", rows)
    counts = Counts(seen=train + val, kept=train + val, dropped=0, failed=0)
    manifest = ShardManifest(
        schema=1,
        split_counts={split: len(numbers) for split, numbers in splits.items() if numbers},
        counts=counts,
        shards={},
        config_digest="test",
        attribute_space=PERSON_27.to_json(),
        code_version="test",
    )
    write_json(folder / "manifest.json", manifest.to_json())
    return folder


def tiny_config(shards: Path, out: Path, **sections: Any) -> PretrainConfig:
    """64x32 pictures, a model of 0.1 M parameters, plain torch. Keyword arguments replace whole sections or add to them."""
    tree: dict[str, Any] = {
        "out": str(out),
        "data": {"shards": str(shards)},
        "model": {
            "vision": {"height": 64, "width": 32, "embed_dim": 8, "depths": [1, 2, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4},
            "text": {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "num_layers": 2, "fusion_layer": 1, "max_positions": 64},
            "embed_dim": 16,
        },
        "optim": {"lr": 1e-3},
        "train": {"steps": 4, "global_batch": 4},
        "engine": {"kind": "torch", "device": "cpu"},
    }
    for name, section in sections.items():
        tree[name] = {**tree.get(name, {}), **section} if isinstance(section, dict) else section
    return build(PretrainConfig, tree, "tiny config")


def _members(number: int) -> list[tuple[str, bytes]]:
    upper, lower = (list(COLOURS)[(number * step + step) % len(COLOURS)] for step in (1, 3))
    picture = np.empty((64, 32, 3), np.uint8)
    picture[:32], picture[32:] = COLOURS[upper], COLOURS[lower]
    picture[number % 16 : number % 16 + 4, 10:20] = 128  # tells apart two samples of the same colours
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    key, named = make_key(number, 0), {f"upper_{upper}": 0, "gender": number % 2}
    attributes = {name: value for name, value in named.items() if name in PERSON_27.names}
    meta = SampleMeta(
        key=key,
        caption=f"a {'man' if number % 2 else 'woman'} in a {upper} shirt and {lower} pants",
        captions=[f"a person in {upper}"],
        prompt="",
        attributes=PERSON_27.to_named(PERSON_27.to_labels(attributes)),
        labels=PERSON_27.to_labels(attributes),
        pid=number,
        view=None,
        seed=0,
        crop_xyxy_px=[0, 0, 32, 64],
        measures={},
        generator={},
        captioner={},
        licence="CC0",
        source="test",
    )
    return [(f"{key}.jpg", buffer.getvalue()), (f"{key}.json", encode_meta(meta))]
