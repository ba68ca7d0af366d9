"""The state of AdamW as one file, the same whatever engine and number of ranks wrote it, so that any other may go on from it.

training_state/optimizer.safetensors: PARAMETER/exp_avg and PARAMETER/exp_avg_sq in the parameter's shape, float32, and PARAMETER/step.
ZeRO 1 and 2 keep flat parts of them on each rank; they are put together when saved and cut again when loaded.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.contracts.errors import ContractError
from pipeline.fileio import write_bytes
from pretrain.checkpoint import read_tensors
from pretrain.distributed import rank, sum_over_ranks

STATE_FILE = "optimizer.safetensors"
MOMENTS = ("exp_avg", "exp_avg_sq")
Names = Mapping[nn.Parameter, str]


def write_state(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """On the first rank."""
    if rank() == 0:
        own = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}  # ZeRO's parameters share their `step`
        write_bytes(folder / STATE_FILE, save(own))


def read_state(folder: Path, names: Names) -> dict[str, Tensor]:
    """Raises ContractError if the file is absent or damaged, or is that of other parameters."""
    path = folder / STATE_FILE
    tensors = read_tensors(path)
    wanted = {f"{name}/{key}": p.shape for p, name in names.items() for key in MOMENTS}
    if wrong := [key for key, shape in wanted.items() if key not in tensors or tensors[key].shape != shape]:
        raise ContractError(f"{path} lacks {wrong[0]} in the model's shape ({len(wrong)} in all); it belongs to another model")
    return tensors


def plain_state(optimizer: torch.optim.Optimizer, names: Names) -> dict[str, Tensor]:
    """Of an optimizer that holds the parameters themselves."""
    return {f"{name}/{key}": value for parameter, name in names.items() for key, value in optimizer.state[parameter].items()}


def set_plain_state(optimizer: torch.optim.Optimizer, names: Names, tensors: Mapping[str, Tensor]) -> None:
    """The reverse of `plain_state`."""
    for parameter, name in names.items():
        optimizer.state[parameter] = {key: tensors[f"{name}/{key}"].clone().to(parameter.device) for key in (*MOMENTS, "step")}


def partitioned_state(zero: Any, names: Names) -> dict[str, Tensor]:
    """Of DeepSpeed's ZeRO 1 or 2 optimizer. Every rank calls it: each adds its parts."""
    tensors = {}
    for flat, parameters in _groups(zero):
        state = zero.optimizer.state[flat]
        for parameter in parameters:
            for key in MOMENTS:
                whole = torch.zeros(parameter.numel(), device=flat.device)
                for here, there in _places(parameter):
                    whole[here] = state[key][there]
                tensors[f"{names[parameter]}/{key}"] = sum_over_ranks(whole).view(parameter.shape)
            tensors[f"{names[parameter]}/step"] = state["step"]
    return tensors


def set_partitioned_state(zero: Any, names: Names, tensors: Mapping[str, Tensor]) -> None:
    """ZeRO steps on copies of the weights, which `refresh_fp32_params` makes anew; this is left to the caller."""
    for flat, parameters in _groups(zero):
        state: dict[str, Tensor] = {key: torch.zeros_like(flat) for key in MOMENTS}
        for parameter in parameters:
            for here, there in _places(parameter):
                for key in MOMENTS:
                    state[key][there] = tensors[f"{names[parameter]}/{key}"].flatten()[here].to(flat.device)
        zero.optimizer.state[flat] = {**state, "step": tensors[f"{names[parameters[0]]}/step"].clone().to(flat.device)}


def _groups(zero: Any) -> Iterator[tuple[Tensor, list[nn.Parameter]]]:
    """This rank's flat part of each parameter group, and the parameters of the group."""
    yield from zip(zero.single_partition_of_fp32_groups, zero.bit16_groups, strict=True)


def _places(parameter: nn.Parameter) -> list[tuple[slice, slice]]:
    """Where this rank's part of a parameter lies, in the flattened parameter and in the rank's flat part; nothing if it has none."""
    mapping = parameter._hp_mapping  # type: ignore[attr-defined] # DeepSpeed's own bookkeeping
    if mapping is None:
        return []
    here, there = mapping.lp_fragment_address, mapping.hp_fragment_address
    return [(slice(here.start, here.start + here.numel), slice(there.start, there.start + there.numel))]
