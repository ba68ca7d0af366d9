"""Losses compute in float32 at least, whatever the autocast state; doubles stay doubles, so that golden numbers can be compared to 1e-9."""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

HALF = (torch.float16, torch.bfloat16)


def in_full_precision(loss: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Run `loss` with autocast off and its half-precision arguments widened."""

    @functools.wraps(loss)
    def wrapped(*args: Any, **kwargs: Any) -> Tensor:
        first = next(a for a in (*args, *kwargs.values()) if isinstance(a, Tensor))
        with torch.autocast(first.device.type, enabled=False):
            return loss(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return wrapped


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALF else value
