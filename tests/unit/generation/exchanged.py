"""What tests of imports and exports share."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from generation.exchange.shards import ShardSeries
from generation.images import encode_jpeg
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.manifest import Counts
from pipeline.contracts.sample import Sample, SampleMeta, make_key
from pipeline.fileio import write_bytes

LORA = {"file": "people.safetensors", "sha256": "cd" * 32, "scale": 0.8}


def samples(count: int) -> Iterator[Sample]:
    rng = np.random.default_rng(0)
    for i in range(count):
        labels = rng.integers(-1, 2, len(PERSON_27)).tolist()
        meta = SampleMeta(
            key=make_key(i, 0),
            caption=f"a man in coat {i}",
            captions=[f"a man in coat {i}"],
            prompt=f"prompt {i // 2}",
            attributes=PERSON_27.to_named(labels),
            labels=labels,
            pid=i // 2,
            view="front" if i > 7 else None,
            seed=2**62 + i,
            crop_xyxy_px=[0, 0, 16, 32],
            measures={"blur": 1.5} if i % 2 else {"noise": 2, "leg_ratio": 0.5},
            generator={"model": "embedded", "steps": 20, "weights_sha256": "ab" * 32, **({"lora": LORA} if i > 8 else {})},
            captioner={"model": "blip"},
            licence="CC0-1.0",
            source="sampler",
        )
        yield Sample(meta, encode_jpeg(rng.integers(0, 255, (32, 16, 3), np.uint8), 90))


def save_shards(folder: Path, source_digest: str = "d", **fields: Any) -> Path:
    """Twelve samples with these fields, two of them of val."""
    series = ShardSeries(folder, samples_per_shard=4, source_digest=source_digest)
    with series:
        for i, sample in enumerate(samples(12)):
            series.add("val" if i in (5, 6) else "train", replace(sample, meta=replace(sample.meta, **fields)))
    series.write_manifest(Counts(seen=12, kept=12, dropped=0, failed=0))
    return folder


def write_list(folder: Path, name: str, records: Any) -> None:
    (folder / "gene_attrs").mkdir(parents=True, exist_ok=True)
    (folder / "gene_attrs" / name).write_text(json.dumps(records))


def mals_folder(folder: Path, *changes: dict[str, Any]) -> Path:
    """A MALS download of one list: a good record, and one more with each of the changes, each with a picture of its own."""
    good = {"caption": "a man", "image_id": "x_0", "label": [-1] * 27}
    records = [{"image": f"gene_crop/x/{number}.jpg"} | good | change for number, change in enumerate(({}, *changes))]
    write_list(folder, "g_c_g_a_0_attrs.json", records)
    for number in range(len(records)):
        write_bytes(folder / "gene_crop" / "x" / f"{number}.jpg", next(samples(1)).image)
    return folder
