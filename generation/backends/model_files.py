"""Names of models -> folders, and what a folder holds. Imports no model library."""

import hashlib
from functools import cache
from pathlib import Path

from generation.config import EMBEDDED, EMBEDDED_WEIGHTS
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import sha256_file

_WEIGHTS = ("*.safetensors",)
_FOREIGN_WEIGHTS = ("*.bin", "*.ckpt", "*.pt", "*.pth")


def find_model(configured: str, field: str, embedded: str | None, marker: str) -> tuple[str, bool]:
    """(folder or hub name, whether it is a folder).

    configured: "embedded", an existing folder, or a name on the model hub ("org/name"). embedded: folder below generation/embedded/weights,
    None where there is no such model.
    marker: a file that every such folder holds. Raises ConfigError for a missing folder, or one that is no such model.
    """
    choices = "" if embedded is None else "embedded, "
    if configured == EMBEDDED and embedded is not None:
        path = EMBEDDED_WEIGHTS / embedded
        if not (path / marker).is_file():
            raise ConfigError(
                f"{field}=embedded: {path} holds no {marker}; restore the folder from the repository, or train it: see its card"
            )
        return str(path), True
    path = Path(configured).expanduser()
    if path.is_dir():
        if not (path / marker).is_file():
            raise ConfigError(
                f"{field}={configured!r}: the folder holds no {marker}; accepted: {choices}a folder saved by its library, a hub name"
            )
        return str(path), True
    if _looks_like_path(configured):
        raise ConfigError(
            f"{field}={configured!r}: no such folder; accepted: {choices}a model folder, or a name on the model hub (org/name)"
        )
    return configured, False


@cache
def weights_sha256(folder: str) -> str:
    """One hash over all weight files of a model folder, by relative name; a single file gives that file's own hash.

    Raises ConfigError if there are no safetensors files.
    """
    root = Path(folder)
    files = sorted(path for pattern in _WEIGHTS for path in root.rglob(pattern))
    if not files:
        foreign = sorted(path.name for pattern in _FOREIGN_WEIGHTS for path in root.rglob(pattern))
        hint = (
            f"it has {foreign[0]}: load it once with its library and save_pretrained(safe_serialization=True)"
            if foreign
            else "it has no weights"
        )
        raise ConfigError(f"{folder} holds no .safetensors file; {hint}")
    if len(files) == 1:
        return sha256_file(files[0])
    lines = [f"{sha256_file(path)}  {path.relative_to(root).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _looks_like_path(name: str) -> bool:
    return name.startswith((".", "/", "~")) or name.count("/") != 1 or "\\" in name
