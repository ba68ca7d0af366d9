"""Averaged weights beside those in training."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor, nn

from pipeline.fileio import write_bytes
from pretrain.checkpoint import read_tensors

FILE = "ema.safetensors"


class Ema:
    """Exponential moving average of the trainable parameters. decay 0 keeps nothing."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay = model, decay
        self.mean: dict[str, Tensor] = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad} if decay else {}

    @torch.no_grad()
    def update(self) -> None:
        for name, parameter in self.model.named_parameters():
            if name in self.mean:
                self.mean[name] = self.mean[name].to(parameter.device).lerp_(parameter, 1 - self.decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model holds the averages inside, its own weights again after."""
        own = {name: p.detach().clone() for name, p in self.model.named_parameters() if name in self.mean}
        self._copy(self.mean)
        try:
            yield
        finally:
            self._copy(own)

    def save(self, folder: Path) -> None:
        if self.mean:
            write_bytes(folder / FILE, save({name: value.cpu().contiguous() for name, value in self.mean.items()}))

    def load(self, folder: Path) -> None:
        if self.mean:
            self.mean = read_tensors(folder / FILE)

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, parameter in self.model.named_parameters():
            if name in values:
                parameter.copy_(values[name])
