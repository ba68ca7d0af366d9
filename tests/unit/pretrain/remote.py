"""Shards that lie elsewhere: a file system that fails as networks do and counts what is asked of it, memory, a web server."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
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


class RangeHandler(SimpleHTTPRequestHandler):
    """Serves byte ranges, which Python's own handler does not."""

    serves_ranges = True

    def log_message(self, *args: Any) -> None:
        """Tests are quiet."""

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = whole = path.read_bytes()
        asked = self.headers.get("Range") if self.serves_ranges else None
        if asked:
            start, stop = (int(number) for number in asked.removeprefix("bytes=").split("-"))
            data = whole[start : stop + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{stop}/{len(whole)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class WholeFileHandler(RangeHandler):
    """A server that gives the whole file whatever was asked for."""

    serves_ranges = False


@contextmanager
def served(folder: Path, handler: type[RangeHandler] = RangeHandler) -> Iterator[str]:
    """The URL of `folder` on loopback."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
