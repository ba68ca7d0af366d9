"""Where shards lie: a folder of this machine, or anything that fsspec reaches (s3://, gs://, https://, hf://, memory://, ...).

A store gives byte ranges of files by name. Folders are read with pread. Remote files are read by ranges, a batch at a time where the
file system can fetch several at once; what fails is tried again a few times. Protocols beside those of fsspec itself need its plug-ins
(s3fs, gcsfs, aiohttp for https), and credentials as these expect them: in the environment or their own files, never in the address.
"""

import logging
import os
import resource
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

from pipeline.contracts.errors import ConfigError, ContractError, StageError

ATTEMPTS = 6
FIRST_PAUSE_S = 1.0  # doubled after every attempt: half a minute of a broken network is survived, an hour is not
_LOCAL = ("file", "local")
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)  # another attempt would not help
log = logging.getLogger("pretrain")


class Span(NamedTuple):
    """Bytes start to stop - 1 of a file."""

    name: str
    start: int
    stop: int


class Store(Protocol):
    """Read access to the files of one folder. Goes to other processes by pickling or forking."""

    is_remote: bool

    def where(self, name: str = "") -> str:
        """The address of a file, for messages."""
        ...

    def exists(self, name: str) -> bool: ...

    def read_file(self, name: str) -> bytes:
        """Raises ContractError for a file that is not there, StageError for one that cannot be read."""
        ...

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        """A span that reaches beyond the end of its file gives what there is. Raises as read_file does."""
        ...


def open_store(address: str, one_of: int = 1) -> Store:
    """Of a path or a URL; file:// is a path. one_of: how many stores are read in turn, and so share the files that may be open.

    Raises ConfigError for an address that nothing here can open.
    """
    if "://" not in address:
        return LocalStore(Path(address), one_of)
    if "::" in address:
        raise ConfigError(f"{address}: chained addresses (::) are not read; give one address of a folder")
    parts = urlsplit(address)
    if parts.password is not None:
        hidden = address.replace(parts.password, "...")
        raise ConfigError(f"{hidden}: an address must not hold a password, logs and config.yaml would repeat it; use the plug-in's own way")
    return LocalStore(Path(unquote(parts.path)), one_of) if parts.scheme in _LOCAL else RemoteStore(address)


class LocalStore:
    """A folder. One descriptor a file, shared by forked processes: pread has no position. Those not read for longest are closed."""

    is_remote = False

    def __init__(self, folder: Path, one_of: int = 1) -> None:
        self._folder, self._one_of = str(folder), one_of  # joined as text: a Path for every sample would cost more than reading it
        self._files = lru_cache(max(_open_files() // one_of, 1))(_OpenFile)  # of threads, too

    def where(self, name: str = "") -> str:
        return f"{self._folder}/{name}" if name else self._folder

    def exists(self, name: str) -> bool:
        return Path(self.where(name)).is_file()

    def read_file(self, name: str) -> bytes:
        try:
            return Path(self.where(name)).read_bytes()
        except FileNotFoundError as err:
            raise ContractError(f"{self.where(name)} does not exist") from err
        except OSError as err:
            raise StageError(f"{self.where(name)} cannot be read ({err.strerror})") from err

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        return [self._pread(*span) for span in spans]

    def _pread(self, name: str, start: int, stop: int) -> bytes:
        try:
            file = self._files(self.where(name))  # held until it is read: another thread may displace it meanwhile
            return os.pread(file.descriptor, stop - start, start)
        except OSError as err:
            raise ContractError(f"{self.where(name)} cannot be read ({err.strerror}); the index names it") from err

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes open their own files."""
        return LocalStore, (Path(self._folder), self._one_of)


class _OpenFile:
    """Closed when nobody holds it any more."""

    __slots__ = ("descriptor",)

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "descriptor"):  # not where it could not be opened
            os.close(self.descriptor)


def _open_files() -> int:
    """A quarter of those that the process may have: training and held-out split have one store each, and others want some."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 1024 if soft == resource.RLIM_INFINITY else soft // 4


class RemoteStore:
    """A folder behind an fsspec URL. Each process opens its own file system: most of them hold threads, which do not survive a fork."""

    is_remote = True

    def __init__(self, url: str, attempts: int = ATTEMPTS, first_pause_s: float = FIRST_PAUSE_S) -> None:
        """Raises ConfigError for a protocol that is unknown or whose plug-in is not installed."""
        self._url, self._attempts, self._pause_s = url.rstrip("/"), attempts, first_pause_s
        self._opened: tuple[int, Any, str] | None = None  # process, file system, root
        self._open()

    def where(self, name: str = "") -> str:
        return f"{self._url}/{name}" if name else self._url

    def exists(self, name: str) -> bool:
        return self._tried(name, lambda system, path: bool(system.exists(path)))

    def read_file(self, name: str) -> bytes:
        return self._tried(name, lambda system, path: bytes(system.cat_file(path)))

    def read(self, spans: Sequence[Span]) -> list[bytes]:
        if len(spans) == 1:
            return [self._read_one(spans[0])]
        system, root = self._open()
        try:
            found = system.cat_ranges(
                [f"{root}/{span.name}" for span in spans], [s.start for s in spans], [s.stop for s in spans], on_error="return"
            )
        except Exception:  # then one after the other, each with its own attempts and message
            found = [None] * len(spans)
        whole = (isinstance(data, bytes) and len(data) == span.stop - span.start for span, data in zip(spans, found, strict=True))
        return [data if good else self._read_one(span) for span, data, good in zip(spans, found, whole, strict=True)]

    def _read_one(self, span: Span) -> bytes:
        data = self._tried(span.name, lambda system, path: bytes(system.cat_file(path, start=span.start, end=span.stop)))
        if len(data) > span.stop - span.start:
            raise StageError(
                f"{self.where(span.name)}: asked for {span.stop - span.start} bytes and got {len(data)}; this server does not serve byte "
                "ranges: copy the shards to a folder, or put them where ranges are served (object stores do)"
            )
        return data

    def _tried(self, name: str, action: Callable[[Any, str], Any]) -> Any:
        pause = self._pause_s
        for attempt in range(1, self._attempts + 1):
            try:
                system, root = self._open()
                return action(system, f"{root}/{name}")
            except FileNotFoundError as err:
                raise ContractError(f"{self.where(name)} does not exist") from err
            except _FINAL as err:
                raise StageError(f"{self.where(name)} cannot be read ({err})") from err
            except Exception as err:  # every plug-in has its own kinds for a network that fails
                if attempt == self._attempts:
                    raise StageError(f"{self.where(name)} could not be read in {attempt} attempts, the last: {_told(err)}") from err
                log.warning("%s: %s; attempt %d of %d in %.1f s", self.where(name), _told(err), attempt + 1, self._attempts, pause)
            time.sleep(pause)
            pause *= 2
        raise AssertionError("the last attempt returns or raises")

    def _open(self) -> tuple[Any, str]:
        if self._opened is None or self._opened[0] != os.getpid():
            import fsspec

            try:
                system, root = fsspec.url_to_fs(self._url)
            except (ImportError, ValueError) as err:
                raise ConfigError(f"{self._url} cannot be opened: {err}") from err
            self._opened = os.getpid(), system, root.rstrip("/")
        return self._opened[1], self._opened[2]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def _told(err: Exception) -> str:
    return f"{type(err).__name__}: {err}".splitlines()[0]
