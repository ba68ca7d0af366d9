"""The published layout of MALS, in and out: 91 lists gene_attrs/g_PART_attrs.json beside gene_crop/PART/NUMBER.jpg.

A record is {"image": "gene_crop/c_g_a_0/0.jpg", "caption": text, "image_id": "c_g_a_0_0", "label": [27 of -1, 0, 1]}. The names of the
lists are those that the published pre-training config enumerates, so an export is a drop-in for it. One list is in memory at a time.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from generation.exchange.origins import FILE, IMPORTED, Origin, Origins, is_whole_text, origin_line
from generation.exchange.published import RECIPE_FILE, published_meta
from generation.exchange.shards import ShardSeries, read_shard, require_new_folder, shard_names
from generation.shard_writer import replaced_together
from generation.split import prompt_identity
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import Sample, SampleMeta, make_key
from pipeline.fileio import atomic_open, digest, read_json, write_bytes
from pipeline.manifests import read_manifest
from pipeline.paths import MANIFEST_FILE
from pipeline.pictures import jpeg_problem, picture_size
from pipeline.seeds import derive_seed

PARTS = ("4x", *(f"{source}_g_a{number}" for source in ("c", "i") for number in ("", *(f"_{i}" for i in range(44)))))
LICENCE = "MALS: research only"
_SOURCES = {"c": "MALS, prompts of CUHK-PEDES", "i": "MALS, prompts of ICFG-PEDES"}
_LIST_NAME = re.compile(r"g_(\w+)_attrs\.json")


# ---- out ------------------------------------------------------------------------------------------------------------------------------
def export_mals(
    shards: Path, out: Path, splits: tuple[str, ...], parts: tuple[str, ...] = PARTS, recipe: str | None = None
) -> dict[str, Any]:
    """Write samples of the splits, evenly over the parts, in the order of the shards, all or none; returns counts, and those of the
    splits that are left out.

    keys.jsonl says which sample each image is and where it comes from: what the four published fields cannot hold. recipe: the text of
    recipe.yaml (`published.recipe_of` the run), None for bare shards. Raises ContractError if `out` holds files already, or a shard is
    broken.
    """
    require_new_folder(out)
    manifest = read_manifest(shards)
    names = shard_names(manifest, splits)
    total = sum(manifest.shards[name]["samples"] for name in names)
    samples = (sample for name in names for sample in read_shard(shards, manifest, name))
    with replaced_together(out, last=FILE) as building, atomic_open(building / FILE) as keys:
        for place, part in enumerate(parts):
            count = (place + 1) * total // len(parts) - place * total // len(parts)
            _write_part(building, part, count, samples, keys)
        if recipe is not None:
            write_bytes(building / RECIPE_FILE, recipe.encode())
    left_out = {split: count for split, count in manifest.split_counts.items() if split not in splits}
    return {"samples": total, "left_out": left_out, "lists": len(parts), "folder": str(out)}


def _write_part(out: Path, part: str, count: int, samples: Iterator[Sample], keys: IO[bytes]) -> None:
    with atomic_open(out / "gene_attrs" / f"g_{part}_attrs.json") as file:
        file.write(b"[")
        for number in range(count):
            sample = next(samples)
            record = mals_record(sample.meta, part, number)
            write_bytes(out / record["image"], sample.image)
            file.write((",\n" if number else "\n").encode() + json.dumps(record, ensure_ascii=False).encode())
            keys.write(origin_line(record["image_id"], published_meta(sample.meta)))
        file.write(b"\n]\n")


def mals_record(meta: SampleMeta, part: str, number: int) -> dict[str, Any]:
    """The four published fields."""
    return {"image": f"gene_crop/{part}/{number}.jpg", "caption": meta.caption, "image_id": f"{part}_{number}", "label": meta.labels}


# ---- in -------------------------------------------------------------------------------------------------------------------------------
def import_mals(folder: Path, out: Path, *, samples_per_shard: int, val_fraction: float, seed: int) -> ShardManifest:
    """Shards, index and manifest from the published layout. `folder` holds gene_attrs and gene_crop, an export of ours keys.jsonl too:
    samples then get back prompt, pid, source, licence and models, and those of one prompt are in one split.

    A record that cannot become a sample is counted with its reason (missing_image, corrupt_image, empty_caption, bad_caption, bad_label,
    bad_image_id, missing_origin: not in keys.jsonl), the rest goes on. Raises ContractError if `out` holds files already, if there is no
    list, or one that is not of this layout.
    """
    require_new_folder(out)
    lists = find_lists(folder)
    origins = Origins.beside(folder)
    reasons: Counter[str] = Counter()
    seen = 0
    with replaced_together(out, last=MANIFEST_FILE) as building:
        series = ShardSeries(building, samples_per_shard, digest([path.name for path in lists]))
        with series:
            for path in lists:
                records = _records(path)
                known = origins.of(record["image_id"] for record in records) if origins else None
                for record in records:
                    made = _sample(folder, path, record, seen, known)
                    seen += 1
                    if isinstance(made, str):
                        reasons[made] += 1
                    else:
                        series.add("val" if _is_held_out(made.meta, seed, val_fraction) else "train", made)
        failed = reasons.total()
        if seen == failed:
            raise ContractError(f"{folder}: none of {seen} records became a sample ({dict(reasons)}); are the images under gene_crop?")
        return series.write_manifest(Counts(seen=seen, kept=seen - failed, dropped=0, failed=failed, reasons=dict(sorted(reasons.items()))))


def find_lists(folder: Path) -> list[Path]:
    """The lists in gene_attrs (or in the folder itself), in the published order, others after them by name."""
    for place in (folder / "gene_attrs", folder):
        found = {match[1]: path for path in sorted(place.glob("*.json")) if (match := _LIST_NAME.fullmatch(path.name))}
        if found:
            return [found[part] for part in (*PARTS, *sorted(set(found) - set(PARTS))) if part in found]
    if not folder.exists():
        raise ContractError(f"{folder} does not exist; accepted: the folder of a MALS download")
    raise ContractError(f"{folder} holds no g_*_attrs.json, in gene_attrs or beside it; accepted: the folder of a MALS download")


def _records(path: Path) -> list[dict[str, Any]]:
    records = read_json(path)
    if not isinstance(records, list):
        raise ContractError(f"{path} holds a {type(records).__name__}; accepted: a list of records with image, caption, image_id, label")
    for number, record in enumerate(records):
        if missing := [name for name in ("image", "caption", "image_id", "label") if not isinstance(record, dict) or name not in record]:
            raise ContractError(f"{path}, record {number}: {', '.join(missing)} missing; accepted: image, caption, image_id, label")
    return records


def _sample(folder: Path, path: Path, record: dict[str, Any], index: int, known: dict[str, Origin] | None) -> Sample | str:
    """A sample, or why there is none. known: where the images of this list come from, None for what MALS has published."""
    if problem := _problem(record):
        return problem
    origin = _published(record, index, path) if known is None else known.get(record["image_id"])
    if origin is None:
        return "missing_origin"
    image = _image(folder, record["image"])
    if image is None:
        return "missing_image"
    if jpeg_problem(image):
        return "corrupt_image"
    return Sample(_meta(record, index, origin, picture_size(image)), image)


def _problem(record: dict[str, Any]) -> str | None:
    """What is wrong with label, caption or image_id."""
    label, caption = record["label"], record["caption"]
    if not isinstance(label, list) or len(label) != len(PERSON_27) or any(type(v) is not int or v not in (-1, 0, 1) for v in label):
        return "bad_label"  # 1.0 and true equal 1, but would be written to the shards as they are
    if not isinstance(caption, str) or not caption.strip():
        return "empty_caption"
    if not is_whole_text(caption):
        return "bad_caption"
    if not isinstance(record["image_id"], int) and not is_whole_text(record["image_id"]):
        return "bad_image_id"
    return None


def _image(folder: Path, name: object) -> bytes | None:
    """The picture below `folder`; a name that leads out of it is as good as missing. Links may lead anywhere: gene_crop on another disk."""
    if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return None
    try:
        return (folder / name).read_bytes()
    except (OSError, ValueError):  # ValueError: a name that no file can have, with a zero byte in it
        return None


def _published(record: dict[str, Any], index: int, path: Path) -> Origin:
    """What is known of an image of MALS. Its prompt is not published, and every image is its own identity."""
    part = path.name.removeprefix("g_").removesuffix("_attrs.json")
    generator = {"model": IMPORTED, "image_id": record["image_id"]}
    source = _SOURCES.get(part[0], "MALS")
    return Origin(prompt="", pid=index, source=source, licence=LICENCE, generator=generator, captioner={"model": IMPORTED})


def _meta(record: dict[str, Any], index: int, origin: Origin, size: tuple[int, int]) -> SampleMeta:
    caption = record["caption"].strip()
    return SampleMeta(
        key=make_key(index, 0),
        caption=caption,
        captions=[caption],
        prompt=origin.prompt,
        attributes=PERSON_27.to_named(record["label"]),
        labels=record["label"],
        pid=origin.pid,
        view=None,
        seed=0,  # not published
        crop_xyxy_px=[0, 0, *size],
        measures={},
        generator=origin.generator,
        captioner=origin.captioner,
        licence=origin.licence,
        source=origin.source,
    )


def _is_held_out(meta: SampleMeta, seed: int, fraction: float) -> bool:
    """By the prompt, or the caption where there is none: equal texts are on one side."""
    return derive_seed(seed, "split", prompt_identity(meta.prompt or meta.caption)) % 10**6 < fraction * 10**6
