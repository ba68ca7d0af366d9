"""A folder that `datasets.load_dataset` opens: the shards with JSON of one fixed schema, and a data card filled in from them.

In KEY.json of a run, measures and provenance are objects whose fields may differ between samples; a reader that infers one schema from the
first samples stumbles over that. Here they are JSON text, and what may be absent is "".
"""

import json
from pathlib import Path
from typing import Any

from generation.exchange.data_card import UNKNOWN, CardFacts, write_card
from generation.exchange.published import RECIPE_FILE, published_meta
from generation.exchange.shards import read_shard, require_new_folder, shard_names
from generation.shard_writer import replaced_together
from pipeline.contracts.sample import IMAGE_EXTENSION, META_EXTENSION, SampleMeta
from pipeline.fileio import write_bytes
from pipeline.manifests import read_manifest
from pipeline.tars import write_tar


def export_hf(shards: Path, out: Path, name: str, stages: dict[str, Any] | None, recipe: str | None = None) -> dict[str, Any]:
    """Write data/SPLIT-NNNNNN.tar, README.md and recipe.yaml, all or none; one shard in memory at a time.

    stages, recipe: what `stats` and `published.recipe_of` say of the run, None for bare shards.
    Returns counts; unknown_licence: samples whose prompt has no licence that is known.
    Raises ContractError if `out` holds files already, or a shard is broken.
    """
    require_new_folder(out)
    manifest = read_manifest(shards)
    facts = CardFacts(name, manifest, stages, has_recipe=recipe is not None)
    with replaced_together(out, last="README.md") as building:
        for shard in shard_names(manifest, sorted(manifest.split_counts)):
            members: list[tuple[str, bytes]] = []
            for sample in read_shard(shards, manifest, shard):
                meta = published_meta(sample.meta)
                facts.add(meta)
                members.append((f"{meta.key}.{IMAGE_EXTENSION}", sample.image))
                members.append((f"{meta.key}.{META_EXTENSION}", json.dumps(flat_meta(meta), ensure_ascii=False).encode()))
            write_tar(building / "data" / shard, members)
        if recipe is not None:
            write_bytes(building / RECIPE_FILE, recipe.encode())
        write_bytes(building / "README.md", write_card(facts).encode())
    unknown = facts.licences[UNKNOWN]
    return {"samples": facts.num_samples, "splits": manifest.split_counts, "unknown_licence": unknown, "folder": str(out)}


def flat_meta(meta: SampleMeta) -> dict[str, Any]:
    """KEY.json with the same fields and types for every sample."""
    return {
        "key": meta.key,
        "caption": meta.caption,
        "captions": meta.captions,
        "prompt": meta.prompt,
        "labels": meta.labels,
        "attributes": meta.attributes,
        "pid": meta.pid,
        "view": meta.view or "",
        "seed": meta.seed,
        "crop_xyxy_px": meta.crop_xyxy_px,
        "source": meta.source,
        "licence": meta.licence,
        "generator_json": json.dumps(meta.generator, ensure_ascii=False, sort_keys=True),
        "captioner_json": json.dumps(meta.captioner, ensure_ascii=False, sort_keys=True),
        "measures_json": json.dumps(meta.measures, sort_keys=True),
    }
