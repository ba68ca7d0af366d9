"""Names of models -> folders, and what a folder holds. Imports no model library."""

import hashlib
import os
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path, PureWindowsPath

from generation.config import EMBEDDED, EMBEDDED_WEIGHTS
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import sha256_file

_WEIGHTS = ("*.safetensors",)
_PART_WEIGHTS = re.compile(  # unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors; formerly the variant stood behind the number
    r"(?P<part>[^/]+)/(?:diffusion_pytorch_model|model)(?:-\d{5}-of-\d{5})?(?:\.(?P<variant>\w+))?(?:-\d{5}-of-\d{5})?\.safetensors"
)
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
    if _is_path(configured) or "/" not in configured:
        raise ConfigError(
            f"{field}={configured!r}: no such folder; accepted: {choices}a model folder, or a name on the model hub (org/name)"
        )
    return configured, False


def model_name(configured: str) -> str:
    """What samples and exports call a model: a folder "./sd15", wherever it lies; "embedded" and names on the hub as they are.

    Where it lies is nobody's business, and the same model has one name on all machines: which one it was, weights_sha256 says. Nor can a
    folder pass for the embedded model or a name on the hub.
    """
    path = Path.cwd() / configured  # one of "~/sd15" needs no look: it is a folder
    is_folder = configured != EMBEDDED and path.is_dir()
    return without_place(os.path.normpath(path) if is_folder else configured)  # not resolve(): a link is called as the user calls it


def without_place(name: str) -> str:
    """/home/jane/models/sd15, ~/sd15 and models/jane/sd15 as "./sd15"; single words and what may be a name on the hub as they are."""
    return f"./{PureWindowsPath(name).name}" if _is_path(name) else name


def find_variant(names: Iterable[str]) -> str | None:
    """The variant (fp16, bf16) that a pipeline of diffusers was published in if a part of it has no plain weights, else None.

    names: paths of its files, relative to its folder. Raises ConfigError where several would do.
    """
    lacking = [of_part for of_part in _variants_of_parts(names) if "" not in of_part]
    common = sorted(set.intersection(*lacking)) if lacking else []
    if len(common) > 1:
        raise ConfigError(f"generate.variant: this model has no plain weights, but several variants; accepted: {', '.join(common)}")
    return common[0] if common else None


def check_variant(variant: str, names: Iterable[str]) -> None:
    """Raises ConfigError if no part of the pipeline has weights of that name. names: as above."""
    known = sorted(set().union(*_variants_of_parts(names)) - {""})
    if variant not in known:
        raise ConfigError(f"generate.variant={variant!r}: this model has no such weights; accepted: {', '.join(['null', *known])}")


def _variants_of_parts(names: Iterable[str]) -> list[set[str]]:
    """For each part of a pipeline the variants of its weights, "" for the plain ones."""
    variants: dict[str, set[str]] = {}
    for name in names:
        if found := _PART_WEIGHTS.fullmatch(name):
            variants.setdefault(found["part"], set()).add(found["variant"] or "")
    return list(variants.values())


@cache
def weights_sha256(folder: str, variant: str | None = None) -> str:
    """One hash over the weight files of a model folder, by relative name; a single file gives that file's own hash.

    Of a pipeline of diffusers: over those that are loaded, the variant's where a part has it. Raises ConfigError if there are no
    safetensors files.
    """
    root = Path(folder)
    files = _pipeline_weights(root, variant) or sorted(path for pattern in _WEIGHTS for path in root.rglob(pattern))
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


def load_errors() -> tuple[type[Exception], ...]:
    """What diffusers and transformers raise for a folder that does not load. A weight file that was copied by half is a plain Exception."""
    from safetensors import SafetensorError

    return (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)


def _pipeline_weights(root: Path, variant: str | None) -> list[Path]:
    """Whole checkpoints in one file and other variants lie beside what is loaded; [] for a folder that is no pipeline."""
    if not (root / "model_index.json").is_file():
        return []
    by_part: dict[str, dict[str, list[Path]]] = {}
    for path in root.glob("*/*.safetensors"):
        if found := _PART_WEIGHTS.fullmatch(path.relative_to(root).as_posix()):
            by_part.setdefault(found["part"], {}).setdefault(found["variant"] or "", []).append(path)
    return sorted(path for variants in by_part.values() for path in variants.get(variant or "", variants.get("", [])))


def _is_path(name: str) -> bool:
    """Whether it can be nothing else; models/sd15 may be a name on the hub."""
    path = PureWindowsPath(name)  # which knows both kinds of separators
    return bool(path.anchor) or name.startswith((".", "~")) or "\\" in name or name.count("/") > 1
