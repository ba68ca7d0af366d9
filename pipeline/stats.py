"""`passerby stats RUN`: what is in a run, stage by stage, or in a folder of shards. Reads tables unit by unit, opens no picture."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import graph
from pipeline.completion import read_record
from pipeline.contracts.attributes import MISSING, PERSON_27, AttributeSpace
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts
from pipeline.contracts.sample import make_key
from pipeline.distributions import Distribution, Distributions, Texts
from pipeline.fileio import read_json
from pipeline.manifests import read_manifest
from pipeline.paths import MANIFEST_FILE, RunPaths
from pipeline.progress import bar
from pipeline.sample_tables import sample_tables
from pipeline.tables import iter_rows, read_columns

KEY_LENGTH = len(make_key(0, 0))
_NAMED, _MODELS = ("source", "licence", "view"), ("generator", "captioner")
_TEXTS = ("caption", "prompt", *_NAMED, *_MODELS)

_Table = dict[str, list[Any]]  # columns


def stats(paths: RunPaths) -> dict[str, Any]:
    """Everything that is known of the run now; a stage that has not run is left out.

    Returns: run; stages (units, counts, reasons, seconds by stage); measures (of images that the filter kept and dropped); attributes (how
    often 0, 1, not stated); captions, prompts; sources, licences, models (counts); splits and shards; prompts_read (how many texts the
    prompt files held, and why some became no prompt). Once the shards are made, texts and attributes are those of their samples: the shard
    stage drops near-duplicates. A folder of nothing but shards (a copy, an import) lacks measures and prompts_read; its one
    stage is shard, as the manifest counts it. Raises ContractError if the folder is neither, or a file of it is damaged.
    """
    if (paths.root / MANIFEST_FILE).exists():
        return _of_shards(paths.root)
    stages = stage_counts(paths)
    if not stages:
        raise ContractError(f"{paths.root} holds no done record of any stage and no manifest.json; accepted: a started run, or its shards")
    answer: dict[str, Any] = {"run": str(paths.root), "stages": stages}
    if paths.prompts_read.exists():
        answer["prompts_read"] = _prompts_read(paths)
    if "filter" in stages:
        answer["measures"] = _measures(paths)
    members = _Members(paths) if "shard" in stages else None
    if "caption" in stages:
        texts = _TextCounts()
        for table in _tables(paths, "caption", ("key", "status", *_TEXTS)):
            texts.add(table, _kept(table, members))
        answer |= texts.summary()
    if "annotate" in stages:
        attributes = _AttributeCounts(PERSON_27)
        for table in _tables(paths, "annotate", ("key", "status", "labels")):
            attributes.add(table, _kept(table, members))
        answer["attributes"] = attributes.summary()
    if "shard" in stages:
        answer["shards"] = _shards(paths.stage("shard"))
    return answer


def _of_shards(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    space = AttributeSpace.from_json(manifest.attribute_space)
    texts, attributes = _TextCounts(), _AttributeCounts(space)
    for table in bar(sample_tables(folder, space, (*_TEXTS, "labels")), "reading", len(manifest.shards)):
        everyone = range(len(table["labels"]))
        texts.add(table, everyone)
        attributes.add(table, everyone)
    return {
        "run": str(folder),
        "stages": {"shard": {"units": 1, **asdict(manifest.counts), "seconds": None}},
        **texts.summary(),
        "attributes": attributes.summary(),
        "shards": _shards(folder),
    }


def _prompts_read(paths: RunPaths) -> dict[str, int]:
    found = read_json(paths.prompts_read)
    is_named = isinstance(found, dict) and {"texts", "prompts"} <= found.keys()
    if not is_named or not all(type(count) is int and count >= 0 for count in found.values()):
        raise ContractError(
            f"{paths.prompts_read} does not say how prompt files were read; accepted: counts by name, texts and prompts among them. "
            "Delete it to do without"
        )
    return found


def stage_counts(paths: RunPaths) -> dict[str, Any]:
    """stage -> units, seen, kept, dropped, failed, reasons, seconds, from its done records; stages without any are left out."""
    return {spec.name: found for spec in graph.STAGES if (found := _stage(paths, spec.name))}


def _stage(paths: RunPaths, name: str) -> dict[str, Any] | None:
    records = [record for unit in paths.done_units(name) if (record := read_record(paths, name, unit))]
    if not records:
        return None
    counts = asdict(Counts.total(record.counts for record in records))
    return {"units": len(records), **counts, "seconds": round(sum(record.seconds for record in records), 1)}


def _tables(paths: RunPaths, stage: str, wanted: Sequence[str]) -> Iterator[_Table]:
    """The wanted columns of every done unit; a column that a table lacks is a list of None."""
    for unit in paths.done_units(stage):
        yield read_columns(paths.units(stage, unit, "parquet"), wanted, optional=True)


def _measures(paths: RunPaths) -> dict[str, Any]:
    kept, dropped = Distributions(), Distributions()
    for table in _tables(paths, "filter", ("status", "measures")):
        rows = list(zip(table["status"], table["measures"], strict=True))
        kept.add(measures for status, measures in rows if status == "kept" and measures)
        dropped.add(measures for status, measures in rows if status == "dropped" and measures)
    return {"kept": kept.summary(), "dropped": dropped.summary()}


class _Members:
    """The keys of the samples in the shards: 12 bytes each, however many there are."""

    def __init__(self, paths: RunPaths) -> None:
        rows = iter_rows(paths.ledger("shard", 0), ("key", "status"))
        kept = (row["key"].encode() for row in rows if row["status"] == "kept")
        self._keys = np.sort(np.fromiter(kept, f"S{KEY_LENGTH}"))

    def among(self, keys: Sequence[str]) -> list[bool]:
        """Which of these are in the shards."""
        if not len(self._keys):
            return [False] * len(keys)
        wanted = np.array(keys, np.bytes_)
        places = np.searchsorted(self._keys, wanted).clip(max=len(self._keys) - 1)
        return (self._keys[places] == wanted).tolist()


def _kept(table: _Table, members: _Members | None) -> list[int]:
    """The rows that the stage has kept, and the shards, where there are some."""
    kept = [i for i, status in enumerate(table["status"]) if status == "kept"]
    if members is None or not kept:
        return kept
    return list(compress(kept, members.among([table["key"][i] for i in kept])))


class _TextCounts:
    """Texts, where they come from and the models, of samples."""

    def __init__(self) -> None:
        self._texts = {"captions": Texts(), "prompts": Texts()}
        self._named: dict[str, Counter[str]] = {name: Counter() for name in (*_NAMED, *_MODELS)}

    def add(self, table: _Table, kept: Sequence[int]) -> None:
        self._texts["captions"].add(table["caption"][i] for i in kept)
        self._texts["prompts"].add(prompt for i in kept if (prompt := table["prompt"][i]))  # "": that of an imported picture is not known
        for name in _NAMED:
            self._named[name].update(_named(table[name][i]) for i in kept)
        for name in _MODELS:
            self._named[name].update(_named((table[name][i] or {}).get("model")) for i in kept)

    def summary(self) -> dict[str, Any]:
        texts = {name: texts.summary() for name, texts in self._texts.items()}
        return texts | {name: dict(counter.most_common()) for name, counter in self._named.items()}


def _named(value: Any) -> str:
    return "not known" if value is None else str(value)


class _AttributeCounts:
    """Per attribute of samples: how often 0, 1, and not stated; `stated` per sample as a distribution."""

    def __init__(self, space: AttributeSpace) -> None:
        self._space = space
        self._counted = np.zeros((3, len(space)), np.int64)  # label 0, label 1, not stated
        self._stated = Distribution()

    def add(self, table: _Table, kept: Sequence[int]) -> None:
        if kept:
            labels = np.array([table["labels"][i] for i in kept], np.int8)  # (samples, attributes)
            self._counted += [(labels == value).sum(axis=0) for value in (0, 1, MISSING)]
            self._stated.add((labels != MISSING).sum(axis=1))

    def summary(self) -> dict[str, Any]:
        by_name = {
            attribute.name: {
                "0": zeros,
                "1": ones,
                "not_stated": missing,
                "prompts": list(attribute.prompts),
                "meanings": list(attribute.meanings),
            }
            for attribute, (zeros, ones, missing) in zip(self._space.attributes, self._counted.T.tolist(), strict=True)
        }
        return {"by_name": by_name, "stated_per_sample": self._stated.summary()}


def _shards(folder: Path) -> dict[str, Any]:
    manifest = read_manifest(folder)
    sizes = [entry["bytes"] for entry in manifest.shards.values()]
    return {"splits": manifest.split_counts, "shards": len(sizes), "bytes": sum(sizes), "largest_bytes": max(sizes, default=0)}
