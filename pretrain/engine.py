"""What runs a training step: DeepSpeed, or plain torch behind the same small interface. The only importer of deepspeed.

Both hold the same client optimizer (torch AdamW) and take the learning rate of each step from outside, so that their losses agree.
"""

import atexit
import gc
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save
from torch import Tensor, nn

from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.fileio import write_bytes
from pretrain.distributed import rank, world_size
from pretrain.optim import build_optimizer, set_lr
from pretrain.settings import EngineConfig, OptimConfig

_STATE_FILE = "optimizer.safetensors"
_TAG = "engine"  # DeepSpeed's name of a saved state: there is one per checkpoint folder


Groups = list[dict[str, Any]]


class Engine(Protocol):
    """A module in training. `step` updates the weights with the gradients that `backward` left, and clears them."""

    device: torch.device

    def __call__(self, *args: Any) -> Any:
        """The module's forward pass."""
        ...

    def backward(self, loss: Tensor) -> None: ...

    def step(self, lr_factor: float) -> None:
        """lr_factor: multiple of each group's learning rate in this step."""
        ...

    def save_state(self, folder: Path) -> None:
        """Optimizer state; every rank calls it."""
        ...

    def load_state(self, folder: Path) -> None:
        """Inverse of save_state. Raises ContractError if the folder holds no such state."""
        ...


def pick_device(name: str) -> torch.device:
    """ "auto", "cpu" or "cuda" to a device of this rank. Raises ConfigError where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("engine.device=cuda, but torch sees no GPU; use engine.device=cpu or install a CUDA build of torch")
    return torch.device(name, int(os.environ.get("LOCAL_RANK", "0"))) if name == "cuda" else torch.device("cpu")


def start_process_group(config: EngineConfig, device: torch.device) -> None:
    """Join the ranks that torchrun, deepspeed or srun announced; a single process makes a group of its own where DeepSpeed needs one.

    A group that was started here is left when the interpreter ends, whichever way: its threads must not outlive it.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if dist.is_initialized():
        return
    backend = "nccl" if device.type == "cuda" else "gloo"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        dist.init_process_group(backend)
    elif config.kind == "deepspeed":
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    if dist.is_initialized():
        atexit.register(leave_process_group)


def leave_process_group() -> None:
    """Destroy the group; wrappers that still reduce gradients through it (they hang on reference cycles) go first."""
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()


def build_engine(module: nn.Module, groups: Groups, optim: OptimConfig, config: EngineConfig, device: torch.device) -> Engine:
    """The engine of the config, its module on the device. `groups` come from `pretrain.optim.parameter_groups`."""
    module.to(device).train()
    kind = DeepSpeedEngine if config.kind == "deepspeed" else TorchEngine
    return kind(module, groups, optim, config, device)


class TorchEngine:
    """Plain torch, with DistributedDataParallel where there are several ranks."""

    def __init__(self, module: nn.Module, groups: Groups, optim: OptimConfig, config: EngineConfig, device: torch.device) -> None:
        self.device, self._clip_norm = device, optim.clip_norm
        self._names = [name for group in groups for name in group["names"]]
        self._optimizer = build_optimizer(groups, optim)
        self._module = nn.parallel.DistributedDataParallel(module) if world_size() > 1 else module

    def __call__(self, *args: Any) -> Any:
        return self._module(*args)

    def backward(self, loss: Tensor) -> None:
        loss.backward()

    def step(self, lr_factor: float) -> None:
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self._module.parameters(), self._clip_norm)
        set_lr(self._optimizer, lr_factor)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def save_state(self, folder: Path) -> None:
        if rank() != 0:
            return  # every rank holds the same state
        state = self._optimizer.state_dict()["state"]
        tensors = {f"{self._names[number]}/{key}": value.cpu() for number, entry in state.items() for key, value in entry.items()}
        write_bytes(folder / _STATE_FILE, save(tensors))

    def load_state(self, folder: Path) -> None:
        path = folder / _STATE_FILE
        if not path.is_file():
            raise ContractError(f"{path} does not exist: another engine saved this checkpoint; use its engine.kind or another `out`")
        numbers = {name: number for number, name in enumerate(self._names)}
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in load_file(path).items():
            parameter, key = name.rsplit("/", 1)
            state.setdefault(numbers[parameter], {})[key] = tensor
        self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})


class DeepSpeedEngine:
    """DeepSpeed with ZeRO 0, 1 or 2. Its own dictionary is made from our config here and nowhere else."""

    def __init__(self, module: nn.Module, groups: Groups, optim: OptimConfig, config: EngineConfig, device: torch.device) -> None:
        deepspeed = _import_deepspeed(device)
        self.device = device
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=module, optimizer=build_optimizer(groups, optim), config=deepspeed_config(optim, config), dist_init_required=False
        )

    def __call__(self, *args: Any) -> Any:
        return self._engine(*args)

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def step(self, lr_factor: float) -> None:
        set_lr(self._optimizer, lr_factor)
        self._engine.step()

    def save_state(self, folder: Path) -> None:
        try:
            self._engine.save_checkpoint(str(folder), tag=_TAG)
        except (OSError, RuntimeError) as err:  # torch reports a full disk as RuntimeError
            raise StageError(f"cannot write {folder}: {err}; free some space, then run again") from err

    def load_state(self, folder: Path) -> None:
        if not (folder / _TAG).is_dir():
            raise ContractError(
                f"{folder / _TAG} does not exist: another engine saved this checkpoint; use its engine.kind or another `out`"
            )
        self._engine.load_checkpoint(str(folder), tag=_TAG)


def deepspeed_config(optim: OptimConfig, config: EngineConfig) -> Mapping[str, Any]:
    """Our loader counts batches, so DeepSpeed's counts are one per rank. Clipping is always named: unnamed, DeepSpeed clips at 1.0."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "gradient_clipping": optim.clip_norm,
        "zero_optimization": {"stage": config.zero_stage},
        "zero_allow_untested_optimizer": True,
        "steps_per_print": 2**31,
    }


def _import_deepspeed(device: torch.device) -> Any:
    """Imported late, told of the device first, its log lines kept out of our stdout."""
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed insists on it, also where nothing launched several ranks
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed
    import deepspeed.ops
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    if device.type == "cpu":
        # Otherwise the first collective compiles a shared-memory extension for minutes; gloo does the work as well.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return deepspeed
