"""The published layout of MALS, in and out: 91 lists gene_attrs/g_PART_attrs.json beside gene_crop/PART/NUMBER.jpg.

A record is {"image": "gene_crop/c_g_a_0/0.jpg", "caption": text, "image_id": "c_g_a_0_0", "label": [27 of -1, 0, 1]}. The names of the
lists are those that the published pre-training config enumerates, so an export is a drop-in for it. One list is in memory at a time.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from generation.exchange.origins import FILE, NO_ORIGIN, NO_ORIGIN_MEANS, Origins, is_whole_text, origin_line
from generation.exchange.published import RECIPE_FILE, published_meta
from generation.exchange.records import FIELDS, PARTS, Record, find_lists, read_records
from generation.exchange.shards import ShardSeries, read_shard, require_new_folder, shard_names
from generation.shard_writer import replaced_together
from generation.split import num_validation, split_number
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import Sample, SampleMeta, make_key
from pipeline.contracts.stage import Row
from pipeline.fileio import atomic_open, digest, write_bytes
from pipeline.manifests import read_manifest
from pipeline.paths import MANIFEST_FILE, RunPaths
from pipeline.pictures import jpeg_problem, picture_size
from pipeline.tables import row_writer

LEDGER = RunPaths(Path()).ledger("shard", 0).relative_to(RunPaths(Path()).stage("shard"))  # below the folder of shards
REPEATED = "repeated"


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
@dataclass(frozen=True, slots=True)
class Imported:
    """What `import_mals` has made. new_keys: why keys and pid of keys.jsonl were not kept, None if they were or there is no such file."""

    manifest: ShardManifest
    new_keys: str | None


def import_mals(folder: Path, out: Path, *, samples_per_shard: int, val_fraction: float, seed: int) -> Imported:
    """Shards, index, ledger and manifest from the published layout. `folder` holds gene_attrs and gene_crop, an export of ours keys.jsonl
    too: samples then get back key, seed, prompt, pid, source, licence and models, and those of one prompt are in one split. Key and pid
    are new where those of `Origins` do not count: exports that were put together.

    A record that cannot become a sample is counted with its reason: dropped if it is `repeated` (its picture has become a sample already),
    else failed (bad_record: no object, or without one of the four fields; missing_image, corrupt_image, empty_caption, bad_caption,
    bad_label, bad_image_id, missing_origin: not in keys.jsonl). The rest goes on; the ledger has a row for each. Raises ContractError if
    `out` holds files already, if there is no list, or one that is not of this layout, or keys.jsonl says two things of one image.
    """
    require_new_folder(out)
    lists = find_lists(folder)
    origins = Origins.beside(folder)
    reasons: Counter[str] = Counter()
    taken: set[int] = set()  # hashes of pictures and keys that have become samples: some 150 bytes each
    seen = 0
    with replaced_together(out, last=MANIFEST_FILE) as building:
        last_held_out = _last_held_out(read_records(lists, origins), seed, val_fraction) if val_fraction else -1
        series = ShardSeries(building, samples_per_shard, digest([path.name for path in lists]))
        with series, row_writer(building / LEDGER) as add_row:
            for record in read_records(lists, origins):
                seen += 1
                made = _sample(folder, record, taken)
                add_row(_ledger_row(record, made))
                if isinstance(made, str):
                    reasons[made] += 1
                else:
                    taken |= _marks(record)
                    series.add("val" if split_number(str(record.text), seed) <= last_held_out else "train", made)
        if seen == reasons.total():
            raise ContractError(
                f"{folder}: none of {seen} records became a sample ({dict(reasons)}); accepted: records with {', '.join(FIELDS)}, "
                f"the images under gene_crop{f'. {NO_ORIGIN_MEANS}' * (NO_ORIGIN in reasons)}"
            )
        counts = Counts(
            seen=seen,
            kept=seen - reasons.total(),
            dropped=reasons[REPEATED],
            failed=reasons.total() - reasons[REPEATED],
            reasons=dict(sorted((+reasons).items())),
        )
        return Imported(series.write_manifest(counts), origins.new_keys if origins else None)


def _last_held_out(records: Iterable[Record], seed: int, fraction: float) -> int:
    """The greatest split number of the texts that are held out, those of `validation_prompts`; -1 if none is. 8 bytes a record."""
    texts = (text for record in records if (text := record.text) is not None)
    numbers = np.unique(np.fromiter((split_number(text, seed) for text in texts), np.int64))
    count = num_validation(len(numbers), fraction)
    return int(numbers[count - 1]) if count else -1


def _marks(record: Record) -> set[int]:
    """What no two samples share: the picture, and the key where it is not new."""
    assert not isinstance(record.origin, str)
    return {hash(record.image)} | ({hash(record.origin.key)} if record.origin.key else set())


def _sample(folder: Path, record: Record, taken: set[int]) -> Sample | str:
    """A sample, or why there is none."""
    if isinstance(record.origin, str):
        return record.origin
    if taken & _marks(record):
        return REPEATED
    try:
        image = (folder / record.image).read_bytes()  # links may lead anywhere: gene_crop on another disk
    except (OSError, ValueError):  # ValueError: a name that no file can have, with a zero byte in it
        return "missing_image"
    if jpeg_problem(image):
        return "corrupt_image"
    return Sample(_meta(record, picture_size(image)), image)


def _meta(record: Record, size: tuple[int, int]) -> SampleMeta:
    origin, labels, caption = record.origin, record.values["label"], record.values["caption"].strip()
    assert not isinstance(origin, str)
    return SampleMeta(
        key=origin.key or make_key(record.index, 0),
        caption=caption,
        captions=[caption],
        prompt=origin.prompt,
        attributes=PERSON_27.to_named(labels),
        labels=labels,
        pid=origin.pid,
        view=None,
        seed=origin.seed,
        crop_xyxy_px=[0, 0, *size],
        measures={},
        generator=origin.generator,
        captioner=origin.captioner,
        licence=origin.licence,
        source=origin.source,
    )


def _ledger_row(record: Record, made: Sample | str) -> Row:
    """key: null for no sample. image_id and image: null where the record has none, JSON where it is no text."""
    values = record.values if isinstance(record.values, dict) else {}
    key, status, reason = (None, "failed", made) if isinstance(made, str) else (made.meta.key, "kept", None)
    return {
        "key": key,
        "status": "dropped" if made == REPEATED else status,
        "reason": reason,
        "list": record.list_name,
        "record": record.number,
        **{name: _as_text(values.get(name)) for name in ("image_id", "image")},
    }


def _as_text(value: Any) -> str | None:
    return value if value is None or is_whole_text(value) else json.dumps(value)
