"""Tar files whose bytes depend on nothing but names and contents: sorted members, fixed time, owner and mode."""

import io
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline.contracts.errors import ContractError
from pipeline.fileio import atomic_open

_BLOCK = tarfile.BLOCKSIZE
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar. offset: position of its content in the tar, in bytes."""

    name: str
    offset: int
    data: bytes = field(repr=False)


def image_extension(image: bytes) -> str:
    """ "jpg" or "png" by the first bytes. Raises ContractError on anything else."""
    if image.startswith(_JPEG):
        return "jpg"
    if image.startswith(_PNG):
        return "png"
    raise ContractError(f"picture starts with {image[:8]!r}; accepted: JPEG, PNG")


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, content) pairs, whole or not at all. Names must ascend (a bug otherwise). Raises StageError when the disk is full."""
    last = ""
    with atomic_open(path) as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            assert name > last, f"{name} after {last} in {path}"
            last = name
            info = tarfile.TarInfo(name)  # its defaults are fixed: time 0, owner 0, mode 644
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def read_tar(path: Path) -> Iterator[Member]:
    """All members in the order of the file. Raises ContractError if it is missing, is no tar, or ends too early."""
    end = 0
    try:
        with open(path, "rb") as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for info in tar:
                content = tar.extractfile(info) if info.isreg() and not info.issparse() else None  # never follows a link
                if content is None:
                    raise ContractError(f"{path}: member {info.name!r} is not a plain file")
                yield Member(info.name, info.offset_data, content.read())
                end = info.offset_data + -(-info.size // _BLOCK) * _BLOCK
            file.seek(end)
            # tarfile takes a file that was cut between two members for a whole one; only the end mark tells them apart
            if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
                raise tarfile.ReadError("end mark is missing: the file was cut off")
    except FileNotFoundError as err:
        raise ContractError(f"{path} does not exist; if a done record names it, delete that record and run again") from err
    except (tarfile.TarError, OSError, EOFError) as err:
        raise ContractError(f"{path} is not a whole tar file ({err}); delete it and its done record, then run again") from err


def read_at(file: IO[bytes], offset: int, length: int) -> bytes:
    """The content that an index finds there. Raises ContractError where the tar ends before it does."""
    file.seek(offset)
    data = file.read(length)
    if len(data) != length:
        raise ContractError(f"{file.name} is shorter than its index says; copy it anew, `passerby lint` says more")
    return data
