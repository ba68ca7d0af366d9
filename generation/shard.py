"""Accepted samples -> WebDataset shards with index and manifest. Reads `annotate` rows and `recrop` pictures of all units."""

from pathlib import Path
from typing import Any

import numpy as np

from generation.advice import advice
from generation.config import GenerationConfig
from generation.near_duplicates import find_repeats
from generation.shard_writer import TAR_END_BYTES, Spool, count_by_split, index_rows, replaced_together, tar_size, write_shard
from generation.split import assign_shards, prompt_identity, validation_prompts
from generation.stages import UNIT_STAGES
from pipeline.completion import read_record
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import StageError
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import SCHEMA_VERSION, Sample, SampleMeta, decode_meta, encode_meta
from pipeline.contracts.stage import Row
from pipeline.fileio import sha256_file, write_json
from pipeline.inputs import read_items
from pipeline.paths import INDEX_FILE, MANIFEST_FILE, RunPaths
from pipeline.tables import write_rows
from pipeline.version import code_version


def write_shards(config: GenerationConfig, paths: RunPaths, num_units: int, config_digest: str) -> tuple[Counts, list[Path]]:
    """The `make` of the single stage "shard". Raises StageError, with what each stage dropped, if no sample is left."""
    folder = paths.stage("shard")
    with replaced_together(folder, last=MANIFEST_FILE) as building:
        spool = Spool(building / "spool")
        try:
            rows, prompts = _gather(config, paths, num_units, spool)
            if not prompts:
                raise StageError(_nothing_left(paths, num_units))
            shards = _plan(config, prompts, spool)
            index = [row for name, keys in shards.items() for row in _write_one(building / name, keys, spool)]
        finally:
            spool.close()
            (building / "spool").unlink()
        counts = Counts.of(rows)
        write_rows(building / INDEX_FILE, index)
        write_json(building / MANIFEST_FILE, _manifest(building, shards, counts, config_digest).to_json())
        names = sorted(path.name for path in building.iterdir())
    write_rows(paths.ledger("shard", 0), rows)
    return counts, [*(folder / name for name in names), paths.ledger("shard", 0)]


def sample_meta(row: Row) -> SampleMeta:
    """KEY.json of one annotated row."""
    return SampleMeta(
        key=row["key"],
        caption=row["caption"],
        captions=row["captions"],
        prompt=row["prompt"],
        attributes=row["attributes"],
        labels=row["labels"],
        pid=row["pid"],
        view=row["view"],
        seed=row["seed"],
        crop_xyxy_px=row["crop_xyxy_px"],
        measures=row["measures"],
        generator=row["generator"],
        captioner=row["captioner"],
        licence=row["licence"],
        source=row["source"],
    )


def _gather(config: GenerationConfig, paths: RunPaths, num_units: int, spool: Spool) -> tuple[list[Row], dict[str, str]]:
    """Ledger rows of all samples, and key -> prompt identity of the kept ones, whose picture and JSON are in the spool."""
    rows: list[Row] = []
    prompts: dict[str, str] = {}
    hashes: list[int] = []
    for unit in range(num_units):
        for item in read_items(paths, "annotate", "recrop", unit, with_images=True):
            rows.append({"key": item.key, "status": "kept", "reason": None})
            hashes.append(int(item.row["phash"], 16))
            prompts[item.key] = prompt_identity(item.row["prompt"])
            spool.add(f"{item.key}.image", item.image or b"")
            spool.add(f"{item.key}.meta", encode_meta(sample_meta(item.row)))
    if config.shard.max_hash_distance is not None:
        _drop_repeats(rows, prompts, find_repeats(np.array(hashes, np.uint64), config.shard.max_hash_distance))
    return rows, prompts


def _drop_repeats(rows: list[Row], prompts: dict[str, str], repeats: dict[int, int]) -> None:
    """Mark repeats and what they repeat; places count the samples that are kept so far, in key order, so the smallest key stays."""
    kept = [row for row in rows if row["status"] == "kept"]
    for place, original in repeats.items():
        kept[place] |= {"status": "dropped", "reason": "near_duplicate", "repeats": kept[original]["key"]}
        del prompts[kept[place]["key"]]


def _plan(config: GenerationConfig, prompts: dict[str, str], spool: Spool) -> dict[str, list[str]]:
    seed, shard = config.run.seed, config.shard
    held_out = validation_prompts(set(prompts.values()), seed, shard.val_fraction)
    split_of = {key: "val" if text in held_out else "train" for key, text in prompts.items()}
    sizes = None
    if shard.max_shard_bytes is not None:
        sizes = {key: sum(tar_size(spool.size(f"{key}.{part}")) for part in ("image", "meta")) for key in prompts}
    limit = None if shard.max_shard_bytes is None else shard.max_shard_bytes - TAR_END_BYTES
    return assign_shards(split_of, seed, shard.samples_per_shard, sizes, limit)


def _write_one(path: Path, keys: list[str], spool: Spool) -> list[Row]:
    write_shard(path, (Sample(decode_meta(spool.read(f"{key}.meta"), key), spool.read(f"{key}.image")) for key in keys))
    return index_rows(path, path.name.split("-")[0])


def _manifest(folder: Path, shards: dict[str, list[str]], counts: Counts, config_digest: str) -> ShardManifest:
    def entry(name: str) -> dict[str, Any]:
        path = folder / name
        return {"sha256": sha256_file(path), "bytes": path.stat().st_size, "samples": len(shards[name])}

    return ShardManifest(
        schema=SCHEMA_VERSION,
        split_counts=count_by_split(shards),
        counts=counts,
        shards={name: entry(name) for name in shards},
        config_digest=config_digest,
        attribute_space=PERSON_27.to_json(),
        code_version=code_version(),
    )


def _nothing_left(paths: RunPaths, num_units: int) -> str:
    """Which stage lost how many samples to what, and what helps where it lost half of them or more."""
    parts, helps = [], []
    for stage in UNIT_STAGES:
        counts = Counts.total(record.counts for unit in range(num_units) if (record := read_record(paths, stage, unit)))
        if counts.reasons:
            why = ", ".join(f"{number} {reason}" for reason, number in counts.reasons.items())
            parts.append(f"{stage} lost {counts.dropped + counts.failed} of {counts.seen} ({why})")
            if counts.kept <= counts.seen / 2:
                helps.append(advice(paths.root, stage, counts.reasons))
    found = "; ".join(parts) or "no stage saw a sample"
    return (
        f"no sample is left for the shards: {found}. Look at the dropped pictures (`passerby report {paths.typed}`), then "
        f"{'; '.join(helps) or 'change the prompts'}"
    )
