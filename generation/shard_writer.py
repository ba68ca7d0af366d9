"""Samples -> tar shards, index and manifest, all of them or none. Written through webdataset; read by `pretrain.shards` and `lint`."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.contracts.errors import StageError
from pipeline.contracts.sample import IMAGE_EXTENSION, INDEX_COLUMNS, META_EXTENSION, Sample, encode_meta
from pipeline.contracts.stage import Row
from pipeline.fileio import atomic_open
from pipeline.tars import read_tar

_BUILDING = ".building"
_BLOCK = 512
TAR_END_BYTES = 10_240  # what a tar file is filled up to a multiple of


def tar_size(num_bytes: int) -> int:
    """Bytes that a member of this length takes in a tar: header, content, filling."""
    return _BLOCK + -(-num_bytes // _BLOCK) * _BLOCK


@contextmanager
def replaced_together(folder: Path, last: str) -> Iterator[Path]:
    """A temporary folder whose files and folders move into `folder` when the block ends well, the one named `last` last.

    Files of an earlier result (tars, tables, JSON directly in `folder`) go before the first move, `last` first of all: a reader that finds
    it finds everything. When the block fails, nothing in `folder` changes; when a move fails, what had moved goes again. Raises StageError
    when the disk is full, or when a second process has begun to write `folder` (Slurm has taken a node for lost): the last one to begin
    wins, none of two that begin at the same moment, and nothing of theirs is mixed.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = _new_folder(folder)
        building, claim = own / "files", own / "claim"
        building.mkdir()
        claim.touch()
    except OSError as err:
        if isinstance(err, FileNotFoundError) and folder.is_dir():  # another has begun meanwhile, and put it away
            raise _taken_over(folder) from err
        raise _cannot_write(folder, err) from err
    try:
        _take_over(folder, own)
        yield building
        if not claim.exists():  # the folder may be there again: opening a file makes it
            raise _taken_over(folder)
        (folder / last).unlink(missing_ok=True)
        for path in [p for p in folder.iterdir() if p.is_file() and p.suffix in (".tar", ".parquet", ".json")]:
            path.unlink(missing_ok=True)
        ready = sorted(building.iterdir(), key=lambda p: (p.name == last, p.name))
        claim.write_text("\n".join(path.name for path in ready), encoding="utf-8")
        for path in ready:
            path.replace(folder / path.name)
    except OSError as err:
        raise (_cannot_write(folder, err) if claim.exists() else _taken_over(folder)) from err
    finally:
        with suppress(OSError):  # what stays now the next writer removes
            _remove([*_moved(claim), own])


def _take_over(folder: Path, own: Path) -> None:
    """Whoever else writes `folder`, or was killed at it, moves nothing more: its own folder has another name before it is looked at.

    Called when `own` is there: of two that begin at once, each or one finds the other, and nobody goes on beside somebody else.
    """
    taken = []
    for other in sorted(set(folder.glob(f"{_BUILDING}*")) - {own}):
        taken.append(renamed := _new_folder(folder))
        with suppress(FileNotFoundError):  # it has just ended
            other.replace(renamed)
    for renamed in taken:  # which may take long
        _remove([*_moved(renamed / "claim"), renamed])


def _new_folder(folder: Path) -> Path:
    return (
        folder / Path(tempfile.mkdtemp(prefix=f"{_BUILDING}-", dir=folder)).name
    )  # of a relative folder Python 3.12 gives an absolute path


def leftovers(folder: Path) -> list[Path]:
    """What a killed process has left of replaced_together: what it had moved, unless that was all, and its temporary folder."""
    moved = [path for claim in folder.glob(f"{_BUILDING}*/claim") for path in _moved(claim)]
    return [*moved, *sorted(folder.glob(f"{_BUILDING}*"))]


def _moved(claim: Path) -> list[Path]:
    """What the writer of this claim has moved, unless that is all. Nothing once the claim is gone: it has ended, or was taken over."""
    try:
        names = [Path(name).name for name in claim.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return []
    waiting = {path.name for path in claim.with_name("files").glob("*")}
    moved = [claim.parents[1] / name for name in names if name not in waiting]  # until then what lies there is somebody else's
    return [path for path in moved if path.exists()] if len(moved) < len(names) else []


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_file():
            path.unlink(missing_ok=True)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _taken_over(folder: Path) -> StageError:
    return StageError(f"{folder} is being written by another process, which began later than this one; its result counts")


def _cannot_write(folder: Path, err: OSError) -> StageError:
    return StageError(f"cannot write {folder}: {err.strerror or err}; free some space or choose another folder, then run again")


def write_shard(path: Path, samples: Iterable[Sample]) -> None:
    """One tar with KEY.jpg and KEY.json of each sample. The same samples always give the same bytes."""
    from webdataset import TarWriter

    with atomic_open(path) as file, TarWriter(file, user="", group="", mode=0o644, mtime=0, encoder=False, compress=False) as tar:
        for sample in samples:
            tar.write({"__key__": sample.meta.key, IMAGE_EXTENSION: sample.image, META_EXTENSION: encode_meta(sample.meta)})


def index_rows(path: Path, split: str) -> list[Row]:
    """INDEX_COLUMNS of one shard, read back from the tar as it stands on disk."""
    members = list(read_tar(path))
    rows = []
    for image, meta in zip(members[::2], members[1::2], strict=True):
        key = image.name.removesuffix(f".{IMAGE_EXTENSION}")
        assert meta.name == f"{key}.{META_EXTENSION}", f"{image.name} is followed by {meta.name} in {path}"
        digest = hashlib.sha256(image.data + meta.data).hexdigest()
        values = (key, split, path.name, image.offset, len(image.data), meta.offset, len(meta.data), digest)
        rows.append(dict(zip(INDEX_COLUMNS, values, strict=True)))
    return rows


class Spool:
    """Samples in one temporary file, found again by key, so that shuffling a run over its shards needs no memory."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "w+b")  # noqa: SIM115 -- closed by close()
        self._places: dict[str, tuple[int, int]] = {}

    def add(self, key: str, data: bytes) -> None:
        self._places[key] = (self._file.seek(0, os.SEEK_END), len(data))
        self._file.write(data)

    def read(self, key: str) -> bytes:
        offset, length = self._places[key]
        self._file.seek(offset)
        return self._file.read(length)

    def size(self, key: str) -> int:
        """Bytes stored under a key."""
        return self._places[key][1]

    def close(self) -> None:
        self._file.close()


def count_by_split(shards: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Samples per split from shard name -> keys."""
    counts: dict[str, int] = {}
    for name, keys in shards.items():
        split = name.split("-")[0]
        counts[split] = counts.get(split, 0) + len(keys)
    return counts
