"""Do the shards of a run hold what index and manifest say? Every tar, every picture, every JSON; one shard in memory at a time."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import ShardManifest
from pipeline.contracts.sample import (
    IMAGE_EXTENSION,
    INDEX_COLUMNS,
    META_EXTENSION,
    SCHEMA_VERSION,
    SHARD_PATTERN,
    decode_meta,
)
from pipeline.contracts.stage import Row
from pipeline.fileio import sha256_file
from pipeline.lint_meta import NUM_NAMED, meta_problems, named
from pipeline.manifests import read_manifest
from pipeline.paths import INDEX_FILE
from pipeline.pictures import jpeg_problem
from pipeline.tables import iter_rows
from pipeline.tars import Member, read_tar

Problem = tuple[str, str]  # file name below the folder of shards, what is wrong


@dataclass(frozen=True, slots=True)
class _Shard:
    """One tar with what manifest and index say about it."""

    path: Path
    said: dict[str, Any]
    rows: list[Row]


def shard_problems(folder: Path, *, decode: bool = True, jobs: int = 1) -> Iterator[Problem]:
    """All problems of a folder of shards. decode: also decode every picture. jobs: processes."""
    try:
        manifest = read_manifest(folder)
    except ContractError as err:
        yield "manifest.json", str(err)
        return
    if manifest.schema != SCHEMA_VERSION:
        yield "manifest.json", f"schema {manifest.schema}, this version reads {SCHEMA_VERSION}"
        return
    index = _Index(folder / INDEX_FILE)
    check = partial(_tar_problems, space=AttributeSpace.from_json(manifest.attribute_space), decode=decode)
    shards = (_Shard(folder / name, manifest.shards.get(name, {}), rows) for name, rows in index.by_shard())
    for found in _mapped(check, (shard for shard in shards if shard.path.exists()), jobs):
        yield from found
    yield from index.problems(manifest)
    on_disk, said = {path.name for path in folder.glob("*.tar")}, set(manifest.shards)
    if stray := sorted((on_disk ^ said) | (index.shards ^ said if index.is_whole else set())):
        yield "manifest.json", f"manifest, index and folder do not name the same shards: {', '.join(stray)}"


class _Index:
    """The index read once, row by row; keeps keys and counts only. Where it cannot be read on, what came before counts all the same."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: set[str] = set()
        self._doubled: set[str] = set()
        self._splits: Counter[str] = Counter()
        self._num_rows = 0
        self._scattered: set[str] = set()
        self._num_odd = 0
        self._unreadable: str | None = None
        self.shards: set[str] = set()

    @property
    def is_whole(self) -> bool:
        return self._unreadable is None

    def by_shard(self) -> Iterator[tuple[str, list[Row]]]:
        for name, group in groupby(self._rows(), key=lambda row: row["shard"]):
            rows = list(group)
            if name in self.shards:
                self._scattered.add(name)
            self.shards.add(name)
            self._count(rows)
            yield name, rows

    def problems(self, manifest: ShardManifest) -> Iterator[Problem]:
        """Once by_shard has been read to its end."""
        if self._unreadable:
            yield "index.parquet", self._unreadable
            return
        if self._num_odd:
            yield "index.parquet", f"{self._num_odd} rows whose key or split is no text, or whose shard is no name of a tar file beside it"
        if self._doubled:
            yield "index.parquet", f"keys stand twice: {named(sorted(self._doubled))}"
        if self._scattered:
            yield "index.parquet", f"rows of one shard do not stand together: {named(sorted(self._scattered))}"
        if self._splits != Counter(manifest.split_counts):
            yield "manifest.json", f"split_counts {manifest.split_counts}, but the index holds {dict(self._splits)}"
        if manifest.counts.kept != self._num_rows:
            yield "manifest.json", f"counts {manifest.counts.kept} kept samples, but the index holds {self._num_rows}"

    def _rows(self) -> Iterator[Row]:
        try:
            for row in iter_rows(self._path, INDEX_COLUMNS):
                if all(isinstance(row[name], str) for name in ("key", "split", "shard")) and SHARD_PATTERN.fullmatch(row["shard"]):
                    yield row
                else:
                    self._num_odd += 1
        except ContractError as err:
            self._unreadable = str(err)

    def _count(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._splits[row["split"]] += 1
            if row["key"] in self._keys:
                self._doubled.add(row["key"])
            self._keys.add(row["key"])
        self._num_rows += len(rows)


def _mapped(check: Any, shards: Iterable[_Shard], jobs: int) -> Iterator[list[Problem]]:
    if jobs == 1:
        yield from map(check, shards)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        pending = []
        for shard in shards:
            pending.append(pool.submit(check, shard))
            if len(pending) > 2 * jobs:  # bounded: rows of shards that wait stay few
                yield pending.pop(0).result()
        for future in pending:
            yield future.result()


def _tar_problems(shard: _Shard, space: AttributeSpace, decode: bool) -> list[Problem]:
    name = shard.path.name
    try:
        return [(name, problem) for problem in _shard_problems(shard, space, decode)]
    except OSError as err:
        return [(name, f"cannot be read ({err.strerror})")]


def _shard_problems(shard: _Shard, space: AttributeSpace, decode: bool) -> list[str]:
    found = []
    if shard.said and (sha256_file(shard.path) != shard.said["sha256"] or shard.path.stat().st_size != shard.said["bytes"]):
        found.append("its size or sha256 is not the one in the manifest")
    if shard.said and shard.said["samples"] != len(shard.rows):
        found.append(f"the manifest counts {shard.said['samples']} samples, the index {len(shard.rows)}")
    try:
        members = list(read_tar(shard.path))
    except ContractError as err:
        return [*found, str(err)]
    found += _name_problems([member.name for member in members], [row["key"] for row in shard.rows])
    by_name = {member.name: member for member in members}
    keys: dict[str, list[str]] = {}  # problem -> samples: where one member has moved, all behind it have
    for row in shard.rows:
        image, meta = (by_name.get(f"{row['key']}.{ext}") for ext in (IMAGE_EXTENSION, META_EXTENSION))
        if image is not None and meta is not None:
            for problem in _sample_problems(row, image, meta, space, decode):
                keys.setdefault(problem, []).append(row["key"])
    for problem, samples in keys.items():
        found += [f"{key}: {problem}" for key in samples] if len(samples) <= NUM_NAMED else [f"{named(samples)}: {problem}"]
    return found


def _name_problems(names: list[str], keys: list[str]) -> Iterator[str]:
    """Members against the keys of the index."""
    if repeated := sorted(name for name, count in Counter(names).items() if count > 1):
        yield f"members stand twice: {named(repeated)}"
    if names != sorted(names):
        yield "members are not sorted"
    wanted = {f"{key}.{ext}" for key in keys for ext in (IMAGE_EXTENSION, META_EXTENSION)}
    if missing := sorted(wanted - set(names)):
        yield f"lacks members that the index names: {named(missing)}"
    if extra := sorted(set(names) - wanted):
        yield f"holds members that the index does not name: {named(extra)}"


def _sample_problems(row: Row, image: Member, meta: Member, space: AttributeSpace, decode: bool) -> Iterator[str]:
    found = (image.offset, len(image.data), meta.offset, len(meta.data))
    if found != (row["image_offset"], row["image_bytes"], row["meta_offset"], row["meta_bytes"]):
        yield "offsets or lengths in the index are not those in the tar"
    if not row["shard"].startswith(f"{row['split']}-"):  # readers choose samples by that column, exports choose shards by their name
        yield f"the index says split {row['split']!r}, which is not that of its shard"
    if hashlib.sha256(image.data + meta.data).hexdigest() != row["sha256"]:
        yield "sha256 in the index is not that of the contents"
    if decode and (problem := jpeg_problem(image.data)):
        yield f"the picture {problem}"
    try:
        sample = decode_meta(meta.data, meta.name)
        if sample.key != row["key"]:
            yield f"its JSON names key {sample.key}"
        yield from meta_problems(sample, space)
    except ContractError as err:
        yield str(err)
