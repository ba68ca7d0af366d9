"""ITC over two ranks has the gradient of one process with the whole batch."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

from pretrain.distributed import any_rank, gather_rows, mean_over_ranks
from pretrain.losses.itc import itc_loss

WORLD, LOCAL = 2, 3


def _inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return *(torch.randn(WORLD * LOCAL, 5, generator=generator) for _ in range(2)), torch.tensor([1, 2, 3, 1, 5, 6])


def _loss(layer: nn.Linear, image: torch.Tensor, text: torch.Tensor, persons: torch.Tensor) -> torch.Tensor:
    features = [gather_rows(F.normalize(layer(x), dim=1)) for x in (image, text)]
    return itc_loss(features[0], features[1], torch.tensor([0.1]), gather_rows(persons))


def _layer() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(5, 4)


def _worker(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=WORLD)
    layer, own = nn.parallel.DistributedDataParallel(_layer()), slice(rank * LOCAL, (rank + 1) * LOCAL)
    loss = _loss(layer, *(x[own] for x in _inputs()))
    loss.backward()
    flags = any_rank(torch.tensor([rank == 1, False]))
    mean = mean_over_ranks(torch.tensor([float(rank)]))
    if rank == 0:
        torch.save({"loss": loss.detach(), "grad": layer.module.weight.grad, "flags": flags, "mean": mean}, f"{folder}/result.pt")
    del layer, loss  # DDP's reducer must be gone before its process group, and no rank may leave while another still talks to it
    dist.barrier()
    dist.destroy_process_group()


def test_two_ranks_have_the_loss_and_gradient_of_one(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_worker, (str(tmp_path),), nprocs=WORLD)
    result = torch.load(tmp_path / "result.pt", weights_only=True)
    layer = _layer()
    loss = _loss(layer, *_inputs())
    loss.backward()
    assert result["loss"].item() == pytest.approx(loss.item(), abs=1e-6)
    assert torch.allclose(result["grad"], layer.weight.grad, atol=1e-6)
    assert result["flags"].tolist() == [True, False]
    assert result["mean"].item() == 0.5
