"""Recipe -> method, checkpoint folder -> searcher: the only place that knows them all."""

from pathlib import Path

import torch

from finetune.best import find_checkpoint
from finetune.config import FinetuneConfig
from finetune.datasets.lines import TrainingLines
from finetune.methods.base import Method, Searcher
from finetune.methods.files import architecture
from finetune.protocol import open_aptm
from finetune.recipes import BlipRecipe, IrraRecipe, Recipe
from pipeline.contracts.errors import ContractError
from pretrain.checkpoint import resolve


def start_method(config: Recipe, lines: TrainingLines, device: torch.device) -> Method:
    """The model with its starting weights. Raises ConfigError or ContractError for weights or data that do not fit."""
    if isinstance(config, FinetuneConfig):
        from finetune.methods.aptm import AptmMethod

        return AptmMethod(config, lines, device)
    if isinstance(config, BlipRecipe):
        from finetune.methods.blip import BlipMethod

        return BlipMethod(config, lines, device)
    if isinstance(config, IrraRecipe):
        from finetune.methods.irra import IrraMethod

        return IrraMethod(config, lines, device)
    from finetune.methods.clip import ClipMethod

    return ClipMethod(config, lines, device)


def open_searcher(folder: Path, device: torch.device) -> Searcher:
    """A checkpoint of any architecture: the best of a training folder, or the folder itself. Raises ConfigError if there is none."""
    folder = resolve(find_checkpoint(folder))
    name = architecture(folder)
    if name == "aptm":
        return open_aptm(folder, device)
    if name == "blip":
        from finetune.methods.blip_searcher import open_blip_searcher

        return open_blip_searcher(folder, device)
    if name in ("irra", "clip"):
        from finetune.methods.clip_searcher import open_clip_searcher

        return open_clip_searcher(folder, name, device)
    raise ContractError(f"{folder}: architecture {name!r}; accepted: aptm, irra, clip, blip")
