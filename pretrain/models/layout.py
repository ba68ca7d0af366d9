"""Between a model and the published state-dict layout: every key, tied tensors twice, buffers, and `temp` without dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.contracts.errors import ContractError

TEMPERATURE = "temp"
COMPUTED = ("relative_position_index", "attn_mask", "position_ids")  # buffers that follow from the config


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What became of every key. `clean` means: all the model needs was given, and nothing else."""

    loaded: tuple[str, ...]
    missing: tuple[str, ...]  # the model has them, the file does not
    unexpected: tuple[str, ...]  # the file has them, the model does not

    @property
    def clean(self) -> bool:
        return not self.missing and not self.unexpected

    def summary(self) -> str:
        """One line for a log."""
        parts = [f"{len(self.loaded)} loaded"]
        for name, keys in (("missing", self.missing), ("unexpected", self.unexpected)):
            if keys:
                parts.append(f"{len(keys)} {name} ({', '.join(keys[:3])}{', …' if len(keys) > 3 else ''})")
        return ", ".join(parts)


def published_state(model: nn.Module) -> dict[str, Tensor]:
    """All keys of the published layout, in its order; contiguous copies on the CPU that share no memory."""
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model.state_dict().items()}
    state[TEMPERATURE] = state[TEMPERATURE].reshape(())
    return state


def load_published(model: nn.Module, state: Mapping[str, Tensor], where: str) -> KeyReport:
    """Copy what fits by name into the model and report every key.

    Raises ContractError naming `where`, key and both shapes if a tensor has another shape: nothing is interpolated.
    """
    own = model.state_dict()
    given = {name: tensor.reshape(1) if name == TEMPERATURE else tensor for name, tensor in state.items() if name in own}
    for name, tensor in given.items():
        if tensor.shape != own[name].shape:
            raise ContractError(
                f"{where}: {name} has shape {list(tensor.shape)}, the model of this config {list(own[name].shape)}; "
                f"use the config it was saved with"
            )
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)
    missing = (name for name in own if name not in given and not name.endswith(COMPUTED))
    return KeyReport(tuple(given), tuple(missing), tuple(name for name in state if name not in own))


def load_whole(model: nn.Module, state: Mapping[str, Tensor], where: str) -> KeyReport:
    """The same, and raises ContractError if a key of the model is missing."""
    report = load_published(model, state, where)
    if report.missing:
        raise ContractError(f"{where}: {report.summary()}; a checkpoint must hold the whole model")
    return report
