"""What weights were trained on before: in the metadata of every checkpoint, and handed on to whatever begins with its weights."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import read_json
from pretrain.checkpoint import METADATA_FILE, MODEL_FILE, resolve

PROTOCOL, TRAINED_ON = "evaluation", "trained_on"  # entries of a checkpoint's metadata; fine-tuning writes the former


def trained_on(metadata: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The data of the fine-tunings that weights went through, that of the checkpoint's own last; a pre-training adds none.

    name: of the data set; val_share: of its identities, held out where it has no validation split, 0 if none was; annotation: sha256 of the
    file; kinds: of its lines. Older checkpoints know of their own training alone, and the oldest not even its name.
    """
    said: Any = metadata.get(TRAINED_ON)
    if knows_its_start(metadata):
        return [data for data in said if _is_data(data)]
    if is_paper(metadata):
        return [{**(said if isinstance(said, dict) else {}), "val_share": 0.0}]
    return [said] if _is_data(said) else []


def knows_its_start(metadata: Mapping[str, Any]) -> bool:
    """Does a checkpoint say what the weights that its training began with were trained on? Those of older versions do not."""
    return isinstance(metadata.get(TRAINED_ON), list)


def _is_data(said: Any) -> bool:
    return isinstance(said, dict) and isinstance(said.get("val_share"), (int, float))


def is_paper(metadata: Mapping[str, Any]) -> bool:
    """Was the checkpoint selected on test? Nothing else is looked at, so that checkpoints of other versions answer, too."""
    said: Any = metadata.get(PROTOCOL)
    settings = said.get("eval") if isinstance(said, dict) else None
    return isinstance(settings, dict) and bool(settings.get("paper_protocol"))


def metadata_of(weights: Path) -> dict[str, Any]:
    """Of a checkpoint of ours, given as its folder or as its file of weights; empty for weights from elsewhere, which need none."""
    if weights.is_file() and weights.name != MODEL_FILE:
        return {}
    try:
        found = read_json((weights.parent if weights.is_file() else weights) / METADATA_FILE)
    except ContractError:  # other programs write files of this name, too, and not always JSON
        return {}
    return found if isinstance(found, dict) and "code_version" in found else {}


def handed_on(weights: Path) -> dict[str, Any]:
    """`trained_on`, if there is any, for the metadata of what begins with these weights: a file, or a folder as `resolve` takes it.

    Empty where they are gone: a training that goes on does not need them any more.
    """
    with suppress(ConfigError):
        if before := trained_on(metadata_of(weights if weights.is_file() else resolve(weights))):
            return {TRAINED_ON: before}
    return {}
