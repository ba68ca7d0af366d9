"""Reading 384x128 JPEGs for training: our indexed shards in permuted order against plain webdataset reading, same decode, in one run.

  python benchmarks/loader.py [--samples 512] [--repeats 11]

One process, so the numbers are per core. Writes shards of random smooth pictures to a temporary folder and reads them in turn both ways:
ours by index (any sample at any time, each checked against its sha256) in the permuted order of an epoch; webdataset's from front to back
through its shuffle buffer of 1,000. Both decode, resize and normalise with the same function. Prints images/s by CPU and by wall time.
"""

import argparse
import hashlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import webdataset
from PIL import Image

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import SampleMeta, encode_meta, make_key
from pipeline.fileio import write_json
from pipeline.paths import INDEX_FILE, MANIFEST_FILE
from pipeline.tables import write_rows
from pipeline.tars import read_tar, write_tar
from pretrain.augment import normalise
from pretrain.order import places
from pretrain.pictures import decode_resized
from pretrain.settings import AugmentConfig
from pretrain.shards import ShardReader

HEIGHT, WIDTH, PER_SHARD = 384, 128, 256


def write_shards(folder: Path, samples: int, caption: Callable[[], str] = lambda: "a person") -> None:
    """`caption` is asked for that of each sample in turn."""
    rng, rows = np.random.default_rng(0), []
    for first in range(0, samples, PER_SHARD):
        shard = f"train-{first // PER_SHARD:06d}.tar"
        write_tar(folder / shard, [member for i in range(first, min(first + PER_SHARD, samples)) for member in _members(i, rng, caption())])
        members = list(read_tar(folder / shard))
        for image, meta in zip(members[::2], members[1::2], strict=True):
            row = {"key": image.name.removesuffix(".jpg"), "split": "train", "shard": shard, "image_offset": image.offset}
            row |= {"image_bytes": len(image.data), "meta_offset": meta.offset, "meta_bytes": len(meta.data)}
            rows.append(row | {"sha256": hashlib.sha256(image.data + meta.data).hexdigest()})
    write_rows(folder / INDEX_FILE, rows)
    counts = Counts(seen=samples, kept=samples, dropped=0, failed=0)
    space = PERSON_27.to_json()
    manifest = ShardManifest(
        schema=1, split_counts={"train": samples}, counts=counts, shards={}, config_digest="", attribute_space=space, code_version=""
    )
    write_json(folder / MANIFEST_FILE, manifest.to_json())


def _members(number: int, rng: np.random.Generator, caption: str) -> list[tuple[str, bytes]]:
    """Smooth noise compresses like a photograph: about 15 KB at quality 90."""
    small = Image.fromarray(rng.integers(0, 256, (48, 16, 3)).astype(np.uint8))
    buffer, key = io.BytesIO(), make_key(number, 0)
    small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    labels = [-1] * len(PERSON_27)
    named = PERSON_27.to_named(labels)
    meta = SampleMeta(
        key=key, caption=caption, captions=[caption], prompt="", attributes=named, labels=labels, pid=number, view=None, seed=0,
        crop_xyxy_px=[0, 0, WIDTH, HEIGHT], measures={}, generator={}, captioner={}, licence="CC0", source="benchmark",
    )  # fmt: skip
    return [(f"{key}.jpg", buffer.getvalue()), (f"{key}.json", encode_meta(meta))]


def pixels(data: bytes) -> np.ndarray:
    look = AugmentConfig()
    return normalise(decode_resized(data, HEIGHT, WIDTH, "sample"), look.mean, look.std)


def read_ours(folder: Path, epoch: int) -> int:
    reader = ShardReader(folder, "train")
    order = places(0, len(reader), epoch * len(reader), (epoch + 1) * len(reader))
    return sum(pixels(reader.read(number).image).shape[0] == 3 for _, number in order)


def read_webdataset(folder: Path) -> int:
    urls = sorted(str(path) for path in folder.glob("*.tar"))
    stream = webdataset.WebDataset(urls, shardshuffle=False).shuffle(1000)
    return sum(pixels(s["jpg"]).shape[0] == 3 and len(json.loads(s["json"])) > 0 for s in stream)


def timed(work: Callable[[], int]) -> tuple[float, float]:
    """Images per second of CPU time, and of wall time."""
    cpu, wall = time.process_time(), time.perf_counter()
    images = work()
    return images / (time.process_time() - cpu), images / (time.perf_counter() - wall)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=11)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(folder, options.samples)
        size = sum(path.stat().st_size for path in folder.glob("*.tar")) / options.samples
        speeds: dict[str, list[tuple[float, float]]] = {"indexed, permuted": [], "webdataset": []}
        for repeat in range(options.repeats):
            speeds["indexed, permuted"].append(timed(lambda epoch=repeat: read_ours(folder, epoch)))
            speeds["webdataset"].append(timed(lambda: read_webdataset(folder)))
    print(f"{options.samples} samples of {size / 1000:.1f} KB, {options.repeats} repeats, one process, webdataset {webdataset.__version__}")
    for number, clock in enumerate(("CPU", "wall")):
        values = {path: [value[number] for value in both] for path, both in speeds.items()}
        for path, found in values.items():
            middle = statistics.median(found)
            print(f"{path:20} images/s of {clock:4}: median {middle:7.1f}   fastest {max(found):7.1f}   slowest {min(found):7.1f}")
        ratios = [ours / theirs for ours, theirs in zip(*values.values(), strict=True)]
        print(f"{'':20} by {clock} {statistics.median(ratios):.2f} times webdataset's (median of the repeats)")


if __name__ == "__main__":
    main()
