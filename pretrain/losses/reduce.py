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


Counted = Callable[[Tensor], Tensor]
"""From this rank's number of valid rows to the divisor of its sum. The mean over ranks makes the mean of the ranks' losses the mean over
the rows of all ranks, as in one process with the whole batch; the plain number gives the mean of the ranks' own means, as published."""


def as_counted_here(count: Tensor) -> Tensor:
    """Divide by this rank's own number."""
    return count


def divisor(count: Tensor, counted: Counted) -> Tensor:
    """float32, at least a trifle where nothing is valid anywhere: 0 / divisor is 0."""
    shared = counted(count.float())
    return torch.where(shared > 0, shared, 1.0)


def cross_entropy_mean(logits: Tensor, targets: Tensor, ignored: int, counted: Counted) -> Tensor:
    """Mean cross entropy over the rows whose target is not `ignored`, in nats; 0 where there is none.

    logits (..., C) float32; targets (...) int64. Never waits for the device.
    """
    flat = targets.flatten()
    summed = F.cross_entropy(logits.flatten(0, -2), flat, ignore_index=ignored, reduction="sum")
    return summed / divisor((flat != ignored).sum(), counted)
