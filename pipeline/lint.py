"""`passerby lint RUN`: do the files of a run hold what records, ledgers, index and manifest say? Reads everything, changes nothing."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import graph
from pipeline.completion import read_record
from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import DoneRecord, ShardManifest
from pipeline.contracts.sample import IMAGE_EXTENSION, INDEX_COLUMNS, META_EXTENSION, SCHEMA_VERSION, decode_meta
from pipeline.fileio import read_json, sha256_file
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from pipeline.tars import Member, read_tar


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. file: below the run folder."""

    file: str
    text: str


def lint(paths: RunPaths) -> list[Finding]:
    """All findings of a run, stage by stage; empty means sound. Raises ContractError if the folder is no run."""
    if not any(paths.done_units(spec.name) for spec in graph.STAGES):
        raise ContractError(f"{paths.root} holds no done record of any stage; accepted: the folder of a run that was started")
    findings: list[Finding] = []
    for spec in graph.STAGES:
        for unit in paths.done_units(spec.name):
            findings += _guarded(paths, paths.done(spec.name, unit), _unit_findings(paths, spec, unit))
    if paths.done_units("shard"):
        findings += _guarded(paths, paths.stage("shard") / "manifest.json", _shard_findings(paths))
    return findings


def _guarded(paths: RunPaths, file: Path, findings: Iterator[Finding]) -> list[Finding]:
    """A file that cannot be read is a finding, and the next unit is looked at all the same."""
    result = []
    try:
        for finding in findings:
            result.append(finding)
    except ContractError as err:
        result.append(Finding(paths.relative(file), str(err)))
    return result


def _unit_findings(paths: RunPaths, spec: graph.StageSpec, unit: int) -> Iterator[Finding]:
    record = read_record(paths, spec.name, unit)
    assert record is not None, "listed a moment ago"
    for name, digest in record.files.items():
        if not (paths.root / name).exists():
            yield Finding(name, "is in a done record, but does not exist")
        elif sha256_file(paths.root / name) != digest:
            yield Finding(name, "its sha256 is not the one in the done record")
    ledger = paths.ledger(spec.name, unit)
    if paths.relative(ledger) not in record.files:
        return
    rows = read_rows(ledger, ("key", "status", "reason"))
    yield from _ledger_findings(paths.relative(ledger), rows, record)
    if spec.kind == "units" and spec.rows_from not in (None, "prompts"):
        earlier = paths.ledger(str(spec.rows_from), unit)
        kept = [row["key"] for row in read_rows(earlier, ("key", "status")) if row["status"] == "kept"]
        if kept != [row["key"] for row in rows]:
            yield Finding(paths.relative(ledger), f"does not see exactly the keys that {paths.relative(earlier)} keeps")


def _ledger_findings(name: str, rows: Sequence[dict[str, Any]], record: DoneRecord) -> Iterator[Finding]:
    keys = [row["key"] for row in rows]
    if keys != sorted(set(keys)):
        yield Finding(name, "keys are not sorted and unique")
    status = Counter(row["status"] for row in rows)
    counts = record.counts
    if (len(rows), status["kept"], status["dropped"], status["failed"]) != (counts.seen, counts.kept, counts.dropped, counts.failed):
        yield Finding(name, f"{len(rows)} rows with {dict(status)}, but the done record counts {counts}")
    if Counter(row["reason"] for row in rows if row["status"] != "kept") != Counter(counts.reasons):
        yield Finding(name, f"its reasons are not those of the done record, {counts.reasons}")


def _shard_findings(paths: RunPaths) -> Iterator[Finding]:
    folder = paths.stage("shard")
    manifest = ShardManifest.from_json(read_json(folder / "manifest.json"), str(folder / "manifest.json"))
    if manifest.schema != SCHEMA_VERSION:
        yield Finding("shards/manifest.json", f"schema {manifest.schema}, this version reads {SCHEMA_VERSION}")
        return
    index = read_rows(folder / "index.parquet", INDEX_COLUMNS)
    by_shard: dict[str, list[dict[str, Any]]] = {}
    for row in index:
        by_shard.setdefault(row["shard"], []).append(row)
    if doubled := sorted(key for key, n in Counter(row["key"] for row in index).items() if n > 1):
        yield Finding("shards/index.parquet", f"keys stand twice: {', '.join(doubled[:5])}")
    if Counter(row["split"] for row in index) != Counter(manifest.split_counts):
        yield Finding("shards/manifest.json", f"split_counts {manifest.split_counts}, but the index holds {_counted(index, 'split')}")
    if manifest.counts.kept != len(index):
        yield Finding("shards/manifest.json", f"counts {manifest.counts.kept} kept samples, but the index holds {len(index)}")
    if stray := sorted({path.name for path in folder.glob("*.tar")} ^ set(manifest.shards) | (set(by_shard) ^ set(manifest.shards))):
        yield Finding("shards/manifest.json", f"manifest, index and folder do not name the same shards: {', '.join(stray)}")
    space = AttributeSpace.from_json(manifest.attribute_space)
    for name, said in sorted(manifest.shards.items()):
        path = folder / name
        if path.exists():
            yield from _guarded(paths, path, _tar_findings(paths, path, said, by_shard.get(name, []), space))


def _tar_findings(
    paths: RunPaths, path: Path, said: dict[str, Any], rows: Sequence[dict[str, Any]], space: AttributeSpace
) -> Iterator[Finding]:
    name = paths.relative(path)
    if sha256_file(path) != said["sha256"] or path.stat().st_size != said["bytes"]:
        yield Finding(name, "its size or sha256 is not the one in the manifest")
    members = list(read_tar(path))
    names = [member.name for member in members]
    if names != sorted(set(names)):
        yield Finding(name, "members are not sorted and unique")
    wanted = [f"{row['key']}.{ext}" for row in rows for ext in (IMAGE_EXTENSION, META_EXTENSION)]
    if names != wanted or said["samples"] != len(rows):
        yield Finding(
            name, f"holds {len(names)} members; index and manifest name {len(wanted)} and {said['samples']} samples, in another way"
        )
        return
    for row, image, meta in zip(rows, members[::2], members[1::2], strict=True):
        for problem in _sample_problems(row, image, meta, space):
            yield Finding(name, f"{row['key']}: {problem}")


def _sample_problems(row: dict[str, Any], image: Member, meta: Member, space: AttributeSpace) -> Iterator[str]:
    found = (image.offset, len(image.data), meta.offset, len(meta.data))
    if found != (row["image_offset"], row["image_bytes"], row["meta_offset"], row["meta_bytes"]):
        yield "offsets or lengths in the index are not those in the tar"
    if hashlib.sha256(image.data + meta.data).hexdigest() != row["sha256"]:
        yield "sha256 in the index is not that of the contents"
    sample = decode_meta(meta.data, meta.name)
    if sample.key != row["key"]:
        yield f"its JSON names key {sample.key}"
    if space.to_named(sample.labels) != sample.attributes:
        yield "labels and named attributes differ"


def _counted(rows: Sequence[dict[str, Any]], column: str) -> dict[str, int]:
    return dict(Counter(row[column] for row in rows))
