"""A file system behind fsspec that fails as networks do, and counts what is asked of it."""

from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem


class FlakyFileSystem(LocalFileSystem):
    """`flaky:///folder`: the first `failures` reads fail; `short` of the next come back without their last byte."""

    protocol = "flaky"
    failures = 0
    short = 0
    asked: list[tuple[str, int | None, int | None]] = []  # noqa: RUF012 - shared by all instances, reset by `make_flaky`

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **options: Any) -> bytes:
        cls = type(self)
        cls.asked.append((Path(path).name, start, end))
        if cls.failures:
            cls.failures -= 1
            raise ConnectionResetError("connection reset by peer")
        data = super().cat_file(path, start=start, end=end, **options)
        if cls.short and start is not None:
            cls.short -= 1
            return data[:-1]
        return data


def make_flaky(folder: Path, failures: int = 0, short: int = 0) -> str:
    """The URL of `folder`, whose next reads fail."""
    fsspec.register_implementation("flaky", FlakyFileSystem, clobber=True)
    FlakyFileSystem.failures, FlakyFileSystem.short = failures, short
    FlakyFileSystem.asked = []
    return f"flaky://{folder}"


def in_memory(folder: Path, name: str) -> str:
    """A copy of the files of `folder` in fsspec's memory; its URL."""
    system = fsspec.filesystem("memory")
    for path in folder.iterdir():
        system.pipe_file(f"/{name}/{path.name}", path.read_bytes())
    return f"memory://{name}"
