"""What survey needs of all done records of a run, quickly: 30,000 small files are read once, later only those that have changed.

RUN/.records/STAGE.cache keeps what was read with each file's modification time, size and inode; a record is written by rename, so that a
new one has other values. The cache may be deleted at any time, is never written for small runs, and nothing but survey reads it.
"""

import os
import re
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from pipeline.collector import paused
from pipeline.completion import read_record, texts_digest, vouched_text
from pipeline.contracts.errors import ProjectError
from pipeline.contracts.manifest import DoneRecord, check_counts
from pipeline.fileio import write_bytes
from pipeline.paths import RunPaths

_VERSION = 4  # of the cache's own format
MIN_NEW = 200  # fewer new records are read anew the next time: cheaper than writing the cache
_FIELDS = DoneRecord.__dataclass_fields__.keys()
_Stamp = tuple[int, int, int]
_NO_STAMP = (0, 0, 0)
_RECORD = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})\.json")  # as RunPaths.done writes it


class Known(NamedTuple):
    """A done record, as far as anybody asks about thousands of them. A plain tuple, so that 30,000 are made in no time."""

    stage: str
    unit: int
    mtime_ns: int  # with size and inode: what tells the file from a later one
    size: int
    inode: int
    config_digest: str
    input_digest: str
    seconds: float
    seen: int
    kept: int
    dropped: int
    failed: int
    reasons: dict[str, int]
    files: list[str]  # below the run folder
    text: str  # completion.record_text of it, from which digests are made

    @classmethod
    def of(cls, data: dict[str, Any], stamp: _Stamp) -> "Known":
        """From a done record's JSON, with the checks of DoneRecord at a third of its cost. Raises ContractError, KeyError, TypeError."""
        counts, files = data["counts"], data["files"]
        check_counts(**counts)
        if data.keys() != _FIELDS:
            raise KeyError
        return cls(
            data["stage"],
            data["unit"],
            *stamp,
            data["config_digest"],
            data["input_digest"],
            data["seconds"],
            counts["seen"],
            counts["kept"],
            counts["dropped"],
            counts["failed"],
            counts["reasons"],
            list(files),
            vouched_text(data["stage"], data["unit"], data["config_digest"], files),
        )

    @property
    def finished(self) -> float:
        """When the record was written, in seconds since 1970."""
        return self.mtime_ns / 1e9


@dataclass(slots=True)
class RecordCache:
    """Records of one run by stage and unit. Keep one object to ask again and again; `refresh` looks at the disk."""

    paths: RunPaths
    _known: dict[str, dict[int, Known]] = field(default_factory=dict)
    _present: set[str] = field(default_factory=set)  # files below the run folder, of the folders in _listed
    _listed: set[str] = field(default_factory=set)

    def refresh(self, stages: Iterable[str]) -> None:
        """Read what has changed on disk since the last time. Raises ContractError on a file that is not the record of its unit."""
        self._present.clear()
        self._listed.clear()
        with paused():  # a hundred thousand objects; half of the time was the collector's
            for stage in stages:
                self._refresh(stage)

    def records(self, stage: str) -> Mapping[int, Known]:
        """Unit -> its record, for the units that have one."""
        return self._known[stage]

    def input_digest(self, sources: list[tuple[str, int]]) -> str:
        """completion.input_digest of these records; "" if one is absent, which no record carries."""
        try:
            return texts_digest([self._known[stage][unit].text for stage, unit in sources])
        except KeyError:
            return ""

    def has_files(self, record: Known) -> bool:
        """Whether every file of the record is there, by one listing of each folder."""
        return self._present.issuperset(record.files) or all(name in self._present or self._is_present(name) for name in record.files)

    def _is_present(self, name: str) -> bool:
        folder = name.rpartition("/")[0]
        if folder in self._listed:
            return False
        self._listed.add(folder)
        with suppress(OSError):
            self._present.update(map(f"{folder}/".__add__, os.listdir(self.paths.root / folder)))  # noqa: PTH208 -- no Path for each
        return name in self._present

    def _refresh(self, stage: str) -> None:
        before = self._known[stage] if stage in self._known else self._load(stage)
        self._known[stage] = now = dict[int, Known]()
        try:
            folder = os.open(self.paths.stage(stage) / "done", os.O_RDONLY)  # its files are reached from it: shorter than by their paths
        except FileNotFoundError:
            return
        num_new = 0
        try:
            for name, unit in _listed(folder):
                record = before.get(unit)
                try:
                    is_new = record is None or record[2:5] != _stamp(os.stat(name, dir_fd=folder))
                except FileNotFoundError:  # gone since the listing: the unit is being made again
                    continue
                if is_new:
                    record = self._read(folder, name, stage, unit)
                    num_new += 1
                if record:
                    now[unit] = record
        finally:
            os.close(folder)
        if num_new >= MIN_NEW:
            self._store(stage)

    def _read(self, folder: int, name: str, stage: str, unit: int) -> Known | None:
        """read_record, without its cost where the file is as it should be."""
        stamp = _NO_STAMP
        try:
            content, stamp = _content(folder, name)
            record = Known.of(orjson.loads(content), stamp)
            if (record.stage, record.unit) == (stage, unit):
                return record
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ProjectError):
            pass
        again = read_record(self.paths, stage, unit)  # says what is wrong
        return Known.of(again.to_json(), stamp) if again else None

    def _load(self, stage: str) -> dict[int, Known]:
        """What `_store` has written. Empty if that is absent or broken: the records themselves are there."""
        try:
            head, _, body = self.paths.records(stage).read_bytes().partition(b"\n")
            if head != _head(body):
                return {}
            rows, *texts = body.split(b"\n")
            return {row[0]: Known._make((stage, *row, text.decode())) for row, text in zip(orjson.loads(rows), texts, strict=True)}
        except (OSError, ValueError, LookupError, TypeError):
            return {}

    def _store(self, stage: str) -> None:
        """A line of JSON, then a text a line: that way nothing in the texts need be escaped. Nobody waits for the disk: see _head."""
        records = self._known[stage].values()
        with suppress(ProjectError, TypeError):  # somebody else's run, or numbers that orjson does not know: read it without a cache
            rows = orjson.dumps([record[1:-1] for record in records])
            body = b"\n".join([rows, *(record.text.encode() for record in records)])
            write_bytes(self.paths.records(stage), b"%s\n%s" % (_head(body), body), lasting=False)


def _head(body: bytes) -> bytes:
    """The first line of a cache. A machine that went down may have left a file of the right size with holes in it."""
    return b"%d %08x" % (_VERSION, zlib.crc32(body))


def _listed(folder: int) -> list[tuple[str, int]]:
    """(name, unit) of the records in a folder."""
    return [(name, int(name[:-5])) for name in os.listdir(folder) if _RECORD.fullmatch(name)]


def _stamp(stat: os.stat_result) -> _Stamp:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _content(folder: int, name: str) -> tuple[bytes, _Stamp]:
    """A small file and its stamp, without the layers of `open`."""
    file = os.open(name, os.O_RDONLY, dir_fd=folder)
    try:
        stat = os.fstat(file)
        return os.read(file, stat.st_size), _stamp(stat)
    finally:
        os.close(file)
