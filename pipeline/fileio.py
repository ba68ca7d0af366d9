"""Files that appear whole or not at all, and hashes of them."""

import hashlib
import io
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from pipeline.contracts.errors import ContractError, StageError

_HOST = platform.node().replace(".", "_")


@contextmanager
def atomic_open(path: Path, lasting: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that is renamed to `path` when the block ends well, and removed when it does not.

    lasting: wait for the disk, so that it is whole even if the machine goes down the moment after.

    The temporary name carries host and process id: two tasks that write the same file do not mix, as when Slurm takes a node for lost and
    starts its task again elsewhere while it still runs. Raises StageError when the disk is full,
    the folder cannot be written, or `path` is no file; an OSError from other work inside the block passes unchanged, so that it is not
    blamed on this file.
    """
    with _told(path):
        is_taken = path.exists() and not path.is_file()
    if is_taken:  # a rename would put a file in the place of /dev/null
        raise StageError(f"cannot write {path}: it is a {'folder' if path.is_dir() else 'device'}; give the name of a file")
    temporary = path.with_name(f".{path.name}.{_HOST}-{os.getpid()}.tmp")
    try:
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = _ToldFile(temporary, path)
        with io.BufferedWriter(raw) as file:
            yield file
            file.flush()
            with _told(path):
                if lasting:
                    os.fsync(file.fileno())
        with _told(path):
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


class _Probed(Exception):
    """Ends a probe."""


def check_writable(path: Path) -> None:
    """Raises StageError for what atomic_open would refuse: before hours of work, not after. Leaves what is there as it is."""
    with suppress(_Probed), atomic_open(path, lasting=False):
        raise _Probed


def remove_temporaries(folder: Path, names: set[str] | None = None) -> None:
    """Delete what a killed process left of atomic_open in `folder`; `names` limits it to those final names.

    Only for files that no other process is writing: each unit belongs to one task, a stage's folder of kind "single" to one process.
    """
    if not folder.is_dir():
        return
    for path in folder.glob(".*.tmp"):
        final = path.name[1:].rsplit(".", 2)[0]
        if names is None or final in names:
            path.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes | memoryview, lasting: bool = True) -> None:
    """Whole or not at all; lasting: also through a power cut. Raises as atomic_open does."""
    with atomic_open(path, lasting) as file:
        file.write(data)


def write_json(path: Path, data: Any) -> None:
    """Indented, key order kept, one final newline."""
    write_bytes(path, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Raises ContractError naming the file if it is absent, cannot be read or is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError as err:
        raise ContractError(f"{path} does not exist") from err
    except OSError as err:
        raise ContractError(f"{path} cannot be read ({err.strerror})") from err
    except ValueError as err:
        raise ContractError(f"{path} is not JSON: {err}") from err


def sha256_file(path: Path) -> str:
    """64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)


def canonical(value: Any) -> str:
    """JSON-like data as text that does not depend on the order of dicts."""
    return _CANONICAL.encode(value)


def digest(value: Any) -> str:
    """Short stable digest (16 hex digits) of JSON-like data; dict order does not matter."""
    return digest_text(canonical(value))


def digest_text(text: str) -> str:
    """digest of data whose canonical text is known."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class _ToldFile(io.FileIO):
    """A file whose failed writes say which file was wanted, and what to do."""

    def __init__(self, temporary: Path, wanted: Path) -> None:
        super().__init__(temporary, "w")
        self._wanted = wanted

    def write(self, data: Any) -> int:
        with _told(self._wanted):
            return super().write(data)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        raise StageError(f"cannot write {path}: {err.strerror or err}; free some space or choose another folder, then run again") from err
