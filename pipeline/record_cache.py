"""All done records of a run, quickly: 30,000 small files are read once, later only those that have changed.

RUN/.records/STAGE.json keeps what was read with each file's modification time, size and inode; a record is written by rename, so that a
new one has other values. The cache may be deleted at any time, is never written for small runs, and nothing but survey reads it.
"""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from pipeline.collector import paused
from pipeline.completion import read_record, record_text, texts_digest
from pipeline.contracts.errors import ProjectError
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.fileio import write_bytes
from pipeline.paths import RunPaths

_VERSION = 3  # of the cache's own format
MIN_NEW = 200  # fewer new records are read anew the next time: cheaper than writing the cache
_READ_BYTES = 1 << 14
_FIELDS, _COUNTS = tuple(DoneRecord.__dataclass_fields__), tuple(Counts.__dataclass_fields__)
_fields_of, _counts_of = attrgetter(*_FIELDS), attrgetter(*_COUNTS)
_Stamp = tuple[int, int, int]


@dataclass(slots=True)
class _Entry:
    stamp: _Stamp
    record: DoneRecord
    text: str  # record_text(record), from which digests are made


@dataclass(slots=True)
class RecordCache:
    """Records of one run by (stage, unit). Keep one object to ask again and again; `refresh` looks at the disk."""

    paths: RunPaths
    _entries: dict[str, dict[int, _Entry]] = field(default_factory=dict)
    _present: set[str] = field(default_factory=set)  # files below the run folder, of the folders in _listed
    _listed: set[str] = field(default_factory=set)

    def refresh(self, stages: Iterable[str]) -> None:
        """Read what has changed on disk since the last time. Raises ContractError on a file that is not the record of its unit."""
        self._present.clear()
        self._listed.clear()
        with paused():  # a hundred thousand objects; half of the time was the collector's
            self._refresh(stages)

    def _refresh(self, stages: Iterable[str]) -> None:
        for stage in stages:
            known = self._entries[stage] if stage in self._entries else self._load(stage)
            folder = str(self.paths.stage(stage) / "done")
            entries: dict[int, _Entry] = {}
            contents: dict[int, str] = {}  # of the files that were read now
            for unit, stamp in self._stamps(folder).items():
                entry = known.get(unit)
                if entry is None or entry.stamp != stamp:
                    read = self._read(f"{folder}/{unit:06d}.json", stage, unit)
                    if read is None:  # gone since the listing
                        continue
                    record, contents[unit] = read
                    entry = _Entry(stamp, record, record_text(record))
                entries[unit] = entry
            self._entries[stage] = entries
            if len(contents) >= MIN_NEW:
                self._store(stage, contents)

    def record(self, stage: str, unit: int) -> DoneRecord | None:
        entry = self._entries[stage].get(unit)
        return entry.record if entry else None

    def finished(self, stage: str, unit: int) -> float:
        """When the unit's record was written, in seconds since 1970."""
        return self._entries[stage][unit].stamp[0] / 1e9

    def input_digest(self, sources: list[tuple[str, int]]) -> str:
        """completion.input_digest of these records; "" if one is absent, which no record carries."""
        try:
            return texts_digest([self._entries[stage][unit].text for stage, unit in sources])
        except KeyError:
            return ""

    def has_files(self, record: DoneRecord) -> bool:
        """Whether every file of the record is there, by one listing of each folder."""
        return self._present.issuperset(record.files) or all(name in self._present or self._is_present(name) for name in record.files)

    def _is_present(self, name: str) -> bool:
        folder = name.rpartition("/")[0]
        if folder in self._listed:
            return False
        self._listed.add(folder)
        with suppress(OSError):
            self._present.update(f"{folder}/{file}" for file in os.listdir(self.paths.root / folder))  # noqa: PTH208 -- no Path for each
        return name in self._present

    def _read(self, path: str, stage: str, unit: int) -> tuple[DoneRecord, str] | None:
        """read_record, without its cost where the file is as it should be, and the same as JSON."""
        try:
            content = _content(path)
            record = DoneRecord.from_json(json.loads(content), path)
            if (record.stage, record.unit) == (stage, unit):
                return record, content
        except (OSError, ValueError, ProjectError):
            pass
        again = read_record(self.paths, stage, unit)
        return (again, json.dumps(_plain(again))) if again else None

    def _stamps(self, folder: str) -> dict[int, _Stamp]:
        stamps = {}
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    stem, _, extension = entry.name.partition(".")
                    if extension == "json" and stem.isdigit():
                        stat = entry.stat()
                        stamps[int(stem)] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except FileNotFoundError:
            return {}
        return stamps

    def _load(self, stage: str) -> dict[int, _Entry]:
        try:
            stored: dict[str, Any] = json.loads(self.paths.records(stage).read_bytes())
            if stored["version"] != _VERSION:
                return {}
            records = ((row[:3], DoneRecord.trusted(row[3])) for row in stored["rows"])
            return {record.unit: _Entry(tuple(stamp), record, record_text(record)) for stamp, record in records}
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return {}  # absent or broken: the records themselves are there

    def _store(self, stage: str, contents: dict[int, str]) -> None:
        """Files are copied as they are: they have just been parsed, and to write them anew takes as long as to read them."""
        rows = [
            f"[{entry.stamp[0]},{entry.stamp[1]},{entry.stamp[2]},{contents.get(unit) or json.dumps(_plain(entry.record))}]"
            for unit, entry in self._entries[stage].items()
        ]
        try:
            write_bytes(self.paths.records(stage), f'{{"version":{_VERSION},"rows":[{",".join(rows)}]}}'.encode())
        except ProjectError:
            return  # somebody else's run: read it without a cache


def _content(path: str) -> str:
    """The text of a small file, without the layers of `open`."""
    file = os.open(path, os.O_RDONLY)
    try:
        parts = [os.read(file, _READ_BYTES)]
        while len(parts[-1]) == _READ_BYTES:
            parts.append(os.read(file, _READ_BYTES))
    finally:
        os.close(file)
    return b"".join(parts).decode()


def _plain(record: DoneRecord) -> dict[str, Any]:
    """record.to_json() without its deep copies."""
    counts = dict(zip(_COUNTS, _counts_of(record.counts), strict=True))
    return dict(zip(_FIELDS, _fields_of(record), strict=True)) | {"counts": counts}
