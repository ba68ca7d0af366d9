"""What a rank may ask of the others. One process without a group is a world of one."""

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def gather_rows(tensor: Tensor) -> Tensor:
    """(B, ...) of each rank -> (world * B, ...) in rank order, on every rank.

    Gradient rule: backward sums over ranks what each rank's loss says about these rows. With every rank computing the same global loss and
    gradients averaged afterwards, parameters get the gradient of one process with the whole batch. (The published code keeps only its own
    slice and so scales this gradient by 1 / world.)
    """
    if world_size() == 1:
        return tensor
    if tensor.requires_grad:
        from torch.distributed.nn import functional

        return torch.cat(functional.all_gather(tensor))
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def any_rank(flags: Tensor) -> Tensor:
    """Bool flags that are true if they are true on some rank."""
    if world_size() == 1:
        return flags
    counts = flags.int()
    dist.all_reduce(counts, op=dist.ReduceOp.MAX)
    return counts.bool()


def mean_over_ranks(values: Tensor) -> Tensor:
    """Mean of a float tensor over ranks, without gradient."""
    if world_size() == 1:
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / world_size()


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.barrier()
