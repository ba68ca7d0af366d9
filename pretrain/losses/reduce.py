"""What all losses share: float32 whatever the autocast state, and means that are zero, with a gradient path, over nothing."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def in_float32(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run `loss` with autocast off and its half-precision arguments widened."""

    @functools.wraps(loss)
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        tensors = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        with torch.autocast(tensors[0].device.type, enabled=False):
            return loss(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return wrapped


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def cross_entropy_mean(logits: Tensor, targets: Tensor, ignored: int, smoothing: float = 0.0) -> Tensor:
    """Mean cross entropy over the rows whose target is not `ignored`, in nats; 0 where there is none.

    logits (..., C) float32; targets (...) int64. smoothing e: target (1 - e) * one-hot + e / C. Never waits for the device.
    """
    flat = targets.flatten()
    summed = F.cross_entropy(logits.flatten(0, -2), flat, ignore_index=ignored, reduction="sum", label_smoothing=smoothing)
    return summed / (flat != ignored).sum().clamp(min=1)
