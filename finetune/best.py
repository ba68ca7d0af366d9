"""The checkpoint that validation chose: OUT/checkpoint/best names its folder, beside `latest`, which names the newest.

The pointer is renamed into place after the folder is whole, so that a kill at any time leaves the old choice or the new one.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import write_bytes
from pipeline.paths import is_training
from pretrain.checkpoint import METADATA_FILE, read_facts

POINTER = "best"


def save_best(root: Path, step: int, save: Callable[[Path, dict[str, Any]], None], extra: dict[str, Any]) -> None:
    """Keep this model as the best so far and forget the one before. save(folder, facts) writes a whole checkpoint folder."""
    folder = root / f"best-{step:08d}"
    save(folder, {"step": step, **extra})
    write_bytes(root / POINTER, f"{folder.name}\n".encode())
    for other in set(root.glob("best-*")) - {folder}:
        shutil.rmtree(other)


def best_folder(root: Path) -> Path | None:
    """The chosen checkpoint below OUT/checkpoint, None if there is none yet."""
    pointer = root / POINTER
    if not pointer.is_file():
        return None
    folder = root / pointer.read_text(encoding="utf-8").strip()
    return folder if (folder / METADATA_FILE).is_file() else None


def best_metadata(root: Path) -> dict[str, Any] | None:
    """What the chosen checkpoint says of itself, None if there is none yet."""
    folder = best_folder(root)
    return read_facts(folder) if folder else None


def check_best(root: Path, training: str) -> None:
    """Raises ContractError if the best checkpoint is that of another training than `training`, an identity as `pretrain.loop` knows it."""
    found = best_metadata(root)
    if found and found.get("training") != training:
        raise ContractError(f"{root} holds the best checkpoint of another config or other data; delete it, or give another `out`")


def find_checkpoint(folder: Path) -> Path:
    """OUT or OUT/checkpoint of a fine-tuning mean its best checkpoint; any other folder is returned as it is.

    Raises ContractError if the best one is lost: another would have other scores than those that the training has reported; ConfigError
    for OUT of a training from several seeds, which holds one training each.
    """
    for root in (folder / "checkpoint", folder):
        if best := best_folder(root):
            return best
        if (root / POINTER).is_file():
            raise ContractError(
                f"{root / POINTER} names no whole checkpoint; run the training again, which goes on from its newest checkpoint and "
                f"chooses anew, or give one of the folders {root}/step-*"
            )
    seeds = sorted(path for path in folder.glob("seed-*") if is_training(path))
    if seeds and not is_training(folder):
        raise ConfigError(
            f"{folder} holds trainings from several seeds; give one of them, {seeds[0]}, or its config.yaml where a recipe is asked for"
        )
    return folder
