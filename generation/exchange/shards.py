"""Shards as a stream of samples, in and out; one shard in memory at a time."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from generation.shard_writer import index_rows, leftovers, write_shard
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts, ShardManifest
from pipeline.contracts.sample import IMAGE_EXTENSION, META_EXTENSION, SCHEMA_VERSION, Sample, decode_meta
from pipeline.fileio import sha256_file, write_json
from pipeline.paths import INDEX_FILE, MANIFEST_FILE, RunPaths
from pipeline.tables import row_writer
from pipeline.tars import read_tar
from pipeline.version import code_version

_WAY_OUT = "copy the shards again, or run the shard stage again; `passerby lint` says what is broken"


def shards_folder(source: Path) -> Path:
    """The folder of shards of a run, or the folder itself if it holds shards. Raises ContractError if neither."""
    if not source.exists():
        raise ContractError(f"{source} does not exist; accepted: a run whose shard stage is done, or a folder of shards")
    for folder in (source, RunPaths(source).stage("shard")):
        if (folder / MANIFEST_FILE).is_file():
            return folder
    raise ContractError(f"{source} holds no manifest.json; accepted: a run whose shard stage is done, or a folder of shards")


def require_new_folder(out: Path) -> None:
    """Raises ContractError if `out` is a file or holds something: what is written beside other files, or over them, is no data set.

    What a killed export or import has left does not count: the next one removes it.
    """
    if out.exists() and not out.is_dir():
        raise ContractError(f"{out} is a file; give a new folder")
    if out.exists() and not set(out.iterdir()) <= set(leftovers(out)):
        raise ContractError(f"{out} is not empty; give a new folder")


def shard_names(manifest: ShardManifest, splits: Sequence[str]) -> list[str]:
    """Shards of the splits, in order, each once. Raises ContractError for a split without shards."""
    names = sorted(manifest.shards)
    if missing := [split for split in splits if not any(name.startswith(f"{split}-") for name in names)]:
        raise ContractError(f"no shard of split {', '.join(missing)}; there are {', '.join(sorted(manifest.split_counts))}")
    return [name for split in dict.fromkeys(splits) for name in names if name.startswith(f"{split}-")]


def read_shard(folder: Path, manifest: ShardManifest, name: str) -> list[Sample]:
    """All samples of a shard. Raises ContractError if it is broken, or not the one that the manifest describes."""
    path, said = folder / name, manifest.shards[name]
    if path.is_file() and (found := sha256_file(path)) != said.get("sha256"):
        raise ContractError(f"{path} has sha256 {found[:12]}…, manifest.json says {str(said.get('sha256'))[:12]}…; {_WAY_OUT}")
    samples = list(iter_samples(path))
    if len(samples) != said.get("samples"):
        raise ContractError(f"{path} holds {len(samples)} samples, manifest.json says {said.get('samples')}; {_WAY_OUT}")
    return samples


def iter_samples(path: Path) -> Iterator[Sample]:
    """Samples of one shard. Raises ContractError for a broken tar or members that are no pairs."""
    waiting: tuple[str, bytes] | None = None
    for member in read_tar(path):
        key, _, extension = member.name.partition(".")
        if extension == IMAGE_EXTENSION and waiting is None:
            waiting = (key, member.data)
        elif extension == META_EXTENSION and waiting is not None and waiting[0] == key:
            yield Sample(decode_meta(member.data, f"{path}: {member.name}"), waiting[1])
            waiting = None
        else:
            raise ContractError(f"{path}: {member.name} does not belong to a pair KEY.jpg, KEY.json; `passerby lint` says more")


class ShardSeries:
    """Samples in; shards, in which keys ascend, and index out when the context ends, then the manifest."""

    def __init__(self, folder: Path, samples_per_shard: int, source_digest: str) -> None:
        self._folder, self._limit, self._digest = folder, samples_per_shard, source_digest
        self._waiting: dict[str, list[Sample]] = {}
        self._shards: dict[str, dict[str, object]] = {}
        self._splits: dict[str, int] = {}
        self._index_context = row_writer(folder / INDEX_FILE)

    def __enter__(self) -> "ShardSeries":
        self._index = self._index_context.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            for split in sorted(self._waiting):
                self._flush(split)
        self._index_context.__exit__(kind, error, trace)

    def add(self, split: str, sample: Sample) -> None:
        waiting = self._waiting.setdefault(split, [])
        waiting.append(sample)
        if len(waiting) == self._limit:
            self._flush(split)

    def write_manifest(self, counts: Counts) -> ShardManifest:
        """After the context has ended."""
        manifest = ShardManifest(
            schema=SCHEMA_VERSION,
            split_counts=dict(sorted(self._splits.items())),
            counts=counts,
            shards=dict(sorted(self._shards.items())),
            config_digest=self._digest,
            attribute_space=PERSON_27.to_json(),
            code_version=code_version(),
        )
        write_json(self._folder / MANIFEST_FILE, manifest.to_json())
        return manifest

    def _flush(self, split: str) -> None:
        samples = sorted(self._waiting.pop(split, []), key=lambda sample: sample.meta.key)
        if not samples:
            return
        path = self._folder / f"{split}-{sum(name.startswith(f'{split}-') for name in self._shards):06d}.tar"
        write_shard(path, samples)
        for row in index_rows(path, split):
            self._index(row)
        self._shards[path.name] = {"sha256": sha256_file(path), "bytes": path.stat().st_size, "samples": len(samples)}
        self._splits[split] = self._splits.get(split, 0) + len(samples)
