"""What runs a training step: DeepSpeed, or plain torch behind the same small interface. The only importer of deepspeed.

Both hold the same client optimizer (torch AdamW) and take the learning rate of each step from outside, so that their losses agree.
"""

import atexit
import gc
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.contracts.errors import ConfigError
from pretrain.distributed import world_size
from pretrain.models.regions import prepare_regions
from pretrain.optim import build_optimizer, set_lr
from pretrain.optimizer_state import partitioned_state, plain_state, read_state, set_partitioned_state, set_plain_state, write_state
from pretrain.rendezvous import adopt_slurm, join
from pretrain.settings import AdamWConfig, EngineConfig

Groups = list[dict[str, Any]]


class Engine(Protocol):
    """A module in training. `step` updates the weights with the gradients that `backward` left, and clears them."""

    device: torch.device

    def __call__(self, *args: Any) -> Any:
        """The module's forward pass."""
        ...

    def part(self, is_last: bool) -> AbstractContextManager[None]:
        """Around forward and backward of one of the parts of a step; gradients are exchanged with the last."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Divides by the number of parts."""
        ...

    def gradient_norm(self) -> Tensor:
        """Of all gradients of all ranks, before clipping; a scalar that the host need not wait for. Between the last backward and step."""
        ...

    def step(self, lr_factor: float) -> None:
        """lr_factor: multiple of each group's learning rate in this step."""
        ...

    def save_state(self, folder: Path) -> None:
        """Optimizer state, as any engine with any number of ranks can load it; every rank calls it."""
        ...

    def load_state(self, folder: Path) -> None:
        """Inverse of save_state; weights are loaded into the model apart from it, before the next forward pass.

        Raises ContractError if the folder holds no such state.
        """
        ...


def pick_device(name: str) -> torch.device:
    """ "auto", "cpu" or "cuda" to a device of this rank. Raises ConfigError where there is none."""
    adopt_slurm(os.environ)
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device {name!r}; accepted: auto, cpu, cuda")
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
        join(backend, os.environ)
    elif config.kind == "deepspeed":
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    if dist.is_initialized():
        atexit.register(leave_process_group)


def leave_process_group() -> None:
    """Destroy the group; wrappers that still reduce gradients through it (they hang on reference cycles) go first."""
    gc.collect()
    if dist.is_initialized():
        dist.destroy_process_group()


def build_engine(
    module: nn.Module, groups: Groups, optim: AdamWConfig, config: EngineConfig, device: torch.device, parts: int = 1
) -> Engine:
    """The engine of the config, its module on the device. `groups` come from `pretrain.optim.parameter_groups`; parts: of each step."""
    module.to(device).train()
    prepare_regions(module, config)
    kind = DeepSpeedEngine if config.kind == "deepspeed" else TorchEngine
    return kind(module, groups, optim, config, device, parts)


class TorchEngine:
    """Plain torch, with DistributedDataParallel where there are several ranks."""

    def __init__(
        self, module: nn.Module, groups: Groups, optim: AdamWConfig, config: EngineConfig, device: torch.device, parts: int = 1
    ) -> None:
        self.device, self._clip_norm, self._parts = device, optim.clip_norm, parts
        self._names = _names(groups)
        self._optimizer = build_optimizer(groups, optim)
        several = world_size() > 1
        # Buffers are the same on all ranks as it is; BLIP's queues would be sent anew at every step.
        self._module = nn.parallel.DistributedDataParallel(module, broadcast_buffers=False) if several else module

    def __call__(self, *args: Any) -> Any:
        return self._module(*args)

    @contextmanager
    def part(self, is_last: bool) -> Iterator[None]:
        with nullcontext() if is_last or not isinstance(self._module, nn.parallel.DistributedDataParallel) else self._module.no_sync():
            yield

    def backward(self, loss: Tensor) -> None:
        (loss / self._parts).backward()

    def gradient_norm(self) -> Tensor:
        return norm_of_gradients(self._names)

    def step(self, lr_factor: float) -> None:
        if self._clip_norm:
            nn.utils.clip_grad_norm_(self._module.parameters(), self._clip_norm)
        set_lr(self._optimizer, lr_factor)
        self._optimizer.step()
        self._optimizer.zero_grad()

    def save_state(self, folder: Path) -> None:
        write_state(folder, plain_state(self._optimizer, self._names))

    def load_state(self, folder: Path) -> None:
        set_plain_state(self._optimizer, self._names, read_state(folder, self._names))


class DeepSpeedEngine:
    """DeepSpeed with ZeRO 0, 1 or 2. Its own dictionary is made from our config here and nowhere else."""

    def __init__(
        self, module: nn.Module, groups: Groups, optim: AdamWConfig, config: EngineConfig, device: torch.device, parts: int = 1
    ) -> None:
        deepspeed = _import_deepspeed(device)
        self.device, self._names, self._zero = device, _names(groups), config.zero_stage > 0
        self._has_stale_copies = False
        self._engine, self._optimizer, _, _ = deepspeed.initialize(
            model=module, optimizer=build_optimizer(groups, optim), config=deepspeed_config(optim, config, parts), dist_init_required=False
        )

    def __call__(self, *args: Any) -> Any:
        if self._has_stale_copies:  # the weights were loaded into the model, before or after the state
            self._optimizer.refresh_fp32_params()
            self._has_stale_copies = False
        return self._engine(*args)

    @contextmanager
    def part(self, is_last: bool) -> Iterator[None]:
        yield
        if not is_last:
            self._engine.step()  # counts the part; updates nothing

    def backward(self, loss: Tensor) -> None:
        self._engine.backward(loss)

    def gradient_norm(self) -> Tensor:
        return self._optimizer.scaled_global_norm() if self._zero else norm_of_gradients(self._names)

    def step(self, lr_factor: float) -> None:
        set_lr(self._optimizer, lr_factor)
        self._engine.step()

    def save_state(self, folder: Path) -> None:
        state = partitioned_state(self._optimizer, self._names) if self._zero else plain_state(self._optimizer, self._names)
        write_state(folder, state)

    def load_state(self, folder: Path) -> None:
        put = set_partitioned_state if self._zero else set_plain_state
        put(self._optimizer, self._names, read_state(folder, self._names))
        self._has_stale_copies = self._zero


def norm_of_gradients(parameters: Iterable[nn.Parameter]) -> Tensor:
    """L2 norm over all parameters that have a gradient, a scalar."""
    return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])


def _names(groups: Groups) -> dict[nn.Parameter, str]:
    return {parameter: name for group in groups for parameter, name in zip(group["params"], group["names"], strict=True)}


def deepspeed_config(optim: AdamWConfig, config: EngineConfig, parts: int = 1) -> Mapping[str, Any]:
    """Our loader counts batches, so DeepSpeed's counts are one per rank. Clipping is always named: unnamed, DeepSpeed clips at 1.0."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": parts,
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
