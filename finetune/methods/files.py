"""Checkpoint folders of the CLIP and BLIP recipes: the layout of `pretrain.checkpoint`, another architecture in config.json."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor, nn

from pipeline.contracts.errors import ContractError
from pipeline.fileio import write_bytes, write_json
from pipeline.version import code_version
from pretrain.checkpoint import CONFIG_FILE, METADATA_FILE, MODEL_FILE, needed, read_facts
from pretrain.models.layout import KeyReport
from pretrain.tokenizer import VOCAB_FILE, read_vocab


def save_folder(folder: Path, state: Mapping[str, Tensor], config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Weights, config.json, and last metadata.json. The caller has written tokenizer files before."""
    write_bytes(folder / MODEL_FILE, save({name: tensor.contiguous() for name, tensor in state.items()}, metadata={"format": "pt"}))
    write_json(folder / CONFIG_FILE, dict(config))
    write_json(folder / METADATA_FILE, {**facts, "code_version": code_version()})


def architecture(folder: Path) -> str:
    """ "aptm", "irra", "clip" or "blip". Raises ContractError if config.json does not say."""
    name = read_facts(folder, CONFIG_FILE).get("architecture")
    if not isinstance(name, str):
        raise ContractError(f"{folder / CONFIG_FILE} names no architecture; give a checkpoint folder that passerby wrote")
    return name


def read_config(folder: Path, expected: str) -> dict[str, Any]:
    """config.json without its architecture. Raises ContractError if that is not the `expected` one."""
    values = read_facts(folder, CONFIG_FILE)
    if (found := values.pop("architecture", None)) != expected:
        raise ContractError(f"{folder / CONFIG_FILE} describes architecture {found!r}; this recipe reads {expected!r}")
    return values


def check_pieces(folder: Path, pieces: Sequence[str], file: Path) -> None:
    """Of a training that goes on from `folder`. Raises ContractError if the vocabulary `file` has other pieces than it began with."""
    with needed(folder / VOCAB_FILE) as path:
        began_with = read_vocab(path, None)
    if began_with != pieces:
        raise ContractError(
            f"{file} has other pieces than {path}, with which the training began; put back what was changed, or give another `out`"
        )


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """Copies on the CPU that share no memory."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def check_share(report: KeyReport, least: float, where: str) -> None:
    """Refuses a start from weights that mostly do not fit. Raises ContractError."""
    share = len(report.loaded) / max(1, len(report.loaded) + len(report.missing))
    if share < least:
        raise ContractError(f"{where}: {share:.0%} of the tensors were found ({report.summary()}); init.least_loaded={least} asks for more")
