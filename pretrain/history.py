"""What weights were trained on before: in the metadata of every checkpoint, and handed on to whatever begins with its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.fileio import read_json
from pretrain.checkpoint import METADATA_FILE, resolve

PROTOCOL, TRAINED_ON = "evaluation", "trained_on"  # entries of a checkpoint's metadata; fine-tuning writes the former


def trained_on(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The data of the fine-tunings that weights went through, that of the checkpoint's own last; a pre-training adds none.

    name: of the data set; val_share: of its identities, held out where it has no validation split, 0 if none was; annotation: sha256 of the
    file; kinds: of its lines. Older checkpoints know of their own training alone, and the oldest not even its name.
    """
    said = metadata.get(TRAINED_ON)
    if isinstance(said, list):
        return said
    if is_paper(metadata):
        return [{**(said or {}), "val_share": 0.0}]
    return [said] if said else []


def is_paper(metadata: Mapping[str, Any]) -> bool:
    """Was the checkpoint selected on test? Nothing else is looked at, so that checkpoints of other versions answer, too."""
    return bool(metadata.get(PROTOCOL, {}).get("eval", {}).get("paper_protocol"))


def metadata_of(weights: Path) -> dict[str, Any]:
    """Of a checkpoint of ours, given as its folder or as a file in it; empty for weights from elsewhere."""
    file = (weights.parent if weights.is_file() else weights) / METADATA_FILE
    found = read_json(file) if file.is_file() else {}
    return found if isinstance(found, dict) and "code_version" in found else {}  # other programs write files of this name, too


def handed_on(weights: Path) -> dict[str, Any]:
    """`trained_on`, if there is any, for the metadata of what begins with these weights: a file, or a folder as `resolve` takes it."""
    before = trained_on(metadata_of(weights if weights.is_file() else resolve(weights)))
    return {TRAINED_ON: before} if before else {}
