"""Compilation and gradient checkpointing of the repeated parts of a model: Swin blocks, and the halves of BERT layers.

Regions and not the whole step: a block is compiled once for all blocks of its shape, what is around (losses, draws, gathering over ranks)
stays ordinary code, and DistributedDataParallel and DeepSpeed see the modules that they know. Only training takes the new way; evaluation,
whose batches have all sizes, runs the plain code.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipeline.contracts.errors import ConfigError
from pretrain.models.text import Bert, Layer
from pretrain.models.vision import SwinBlock
from pretrain.settings import EngineConfig

VISION, TEXT = "vision", "text"
RECOMPILE_LIMIT = 64  # shapes of one region, torch allows 8: four stages, with shift and without, with DropPath and without
_METHODS: tuple[tuple[str, type[nn.Module], tuple[str, ...]], ...] = (
    (VISION, SwinBlock, ("forward",)),
    (TEXT, Layer, ("read_text", "finish")),
)


def prepare_regions(module: nn.Module, config: EngineConfig) -> None:
    """Make the regions of `module` train as `config.compile` and `config.gradient_checkpointing` say. Twice is the same as once.

    Raises ConfigError if a switch is on and the module has no such region.
    """
    if not config.compile and config.gradient_checkpointing == "none":
        return
    if config.compile:
        torch._dynamo.config.recompile_limit = max(RECOMPILE_LIMIT, torch._dynamo.config.recompile_limit)
    found = list(_regions(module))
    if not found:
        raise ConfigError(
            f"engine.compile={config.compile}, engine.gradient_checkpointing={config.gradient_checkpointing}: this model has neither Swin "
            f"blocks nor BERT layers of ours, which is what they work on; leave both out"
        )
    last = {part.encoder.layer[-1] for part in module.modules() if isinstance(part, Bert)}  # few positions: little work, many shapes
    for side, part, name in found:
        plain = getattr(type(part), name).__get__(part)
        # Pictures have one size; texts have the length of the longest of the batch, which must not compile anew for each.
        trained = torch.compile(plain, dynamic=side == TEXT) if config.compile and part not in last else plain
        if config.gradient_checkpointing in (side, "all"):
            trained = functools.partial(checkpoint, trained, use_reentrant=False)
        setattr(part, name, functools.partial(_run, part, trained, plain))


def _regions(module: nn.Module) -> Iterator[tuple[str, nn.Module, str]]:
    for part in module.modules():
        for side, kind, names in _METHODS:
            if isinstance(part, kind):
                yield from ((side, part, name) for name in names)


def _run(part: nn.Module, trained: Callable[..., Any], plain: Callable[..., Any], *args: Any) -> Any:
    return (trained if part.training and torch.is_grad_enabled() else plain)(*args)
