"""What a rank may ask of the others. One process without a group is a world of one."""

from datetime import timedelta
from functools import lru_cache
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.contracts.errors import ConfigError
from pretrain.rendezvous import SILENCE_S


def rank() -> int:
    """0 where there is one process."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """1 where there is one process."""
    return dist.get_world_size() if dist.is_initialized() else 1


@lru_cache
def _subgroup(size: int) -> dist.ProcessGroup | None:
    """The group of `size` consecutive ranks that holds this one; None: all ranks. Every rank makes every group, in the same order."""
    if size == world_size():
        return None
    limit = timedelta(seconds=SILENCE_S)  # new_group has a limit of its own, and takes none from the group of all
    groups = [dist.new_group(list(range(start, start + size)), timeout=limit) for start in range(0, world_size(), size)]
    return groups[rank() // size]


def check_group_size(size: int) -> int:
    """The number of ranks that gather together: `size`, or all for 0. Raises ConfigError if the ranks cannot be parted so."""
    if size and world_size() % size:
        fitting = [n for n in range(1, world_size() + 1) if world_size() % n == 0]
        raise ConfigError(f"objective.itc_group_size={size} does not divide the {world_size()} ranks; accepted: {fitting}, or 0 for all")
    return size or world_size()


def gather_rows(tensor: Tensor, group_size: int = 0) -> Tensor:
    """(B, ...) of each rank -> (G * B, ...) in rank order, on each of the G ranks of a group; 0: all ranks.

    Gradient rule: backward sums over the group what each rank's loss says about these rows. With every rank taking the loss of its own rows
    against all, and gradients averaged afterwards, parameters get the gradient of one process with the whole batch.
    """
    size = check_group_size(group_size)
    if size == 1:
        return tensor
    return _GatherRows.apply(tensor, _subgroup(size), size)


class _GatherRows(torch.autograd.Function):
    """Forward: every rank gets all rows. Backward: every rank gets the sum of what all ranks say about its rows, and nothing more."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: dist.ProcessGroup | None, size: int) -> Tensor:
        ctx.group, ctx.size = group, size
        rows = tensor.new_empty(size * len(tensor), *tensor.shape[1:])
        dist.all_gather_into_tensor(rows, tensor.contiguous(), group=group)
        return rows

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradient.contiguous()
        own = gradient.new_empty(len(gradient) // ctx.size, *gradient.shape[1:])
        if dist.get_backend(ctx.group) == "nccl":
            dist.reduce_scatter_tensor(own, gradient, group=ctx.group)
            return own, None, None
        opinions = torch.empty_like(gradient)  # gloo has no reduce-scatter
        dist.all_to_all_single(opinions, gradient, group=ctx.group)
        return opinions.unflatten(0, (ctx.size, -1)).sum(0), None, None


def any_rank(flags: Tensor) -> Tensor:
    """Bool flags that are true if they are true on some rank."""
    if world_size() == 1:
        return flags
    counts = flags.int()
    dist.all_reduce(counts, op=dist.ReduceOp.MAX)
    return counts.bool()


def sum_over_ranks(values: Tensor) -> Tensor:
    """Sum of a tensor over ranks, in place, without gradient."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def mean_over_ranks(values: Tensor) -> Tensor:
    """Mean of a float tensor over ranks, without gradient."""
    if world_size() == 1:
        return values
    return sum_over_ranks(values.clone()) / world_size()


def largest(own: int) -> int:
    """The largest of what each rank gives. Waits for the others and for the device."""
    if world_size() == 1:
        return own
    found = torch.tensor(own, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return int(found)


def gather_objects(own: Any) -> list[Any]:
    """What each rank gives, in rank order, on every rank. Slow; for messages."""
    found = [own] * world_size()
    if world_size() > 1:
        dist.all_gather_object(found, own)
    return found


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.barrier()
