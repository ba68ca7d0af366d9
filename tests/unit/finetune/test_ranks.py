"""Fine-tuning with two ranks on plain torch: what one process computes with the whole batch, and one culprit. DeepSpeed: test_launchers."""

from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from finetune.methods.aptm import AptmMethod
from finetune.methods.blip import BlipMethod
from finetune.methods.irra import IrraMethod
from finetune.train import train
from pipeline.contracts.errors import StageError
from pipeline.signals import StopRequest
from tests.unit.finetune.replay import VARIANTS, assert_same_training, recipe, replayed
from tests.unit.pretrain.ranks import run_ranks

METHODS: dict[str, Any] = {"aptm": AptmMethod, "irra": IrraMethod, "blip": BlipMethod}


@pytest.fixture(scope="module")
def data(miniature: Path, people: Path) -> dict[str, Path]:
    return {"challenge": miniature, "people": people}


def _not_finite(rank: int, name: str, data: dict[str, Path], out: Path) -> tuple[str, list[tuple[str, ...]]]:
    """Rank 1 gets a picture of nothing but infinities in its second step: what stops this rank, and the keys of its batches."""
    keys, arguments = [], METHODS[name].arguments

    def broken(self: Any, batch: Any, step: int) -> Any:
        keys.append(batch.keys)
        if rank == 1 and step == 1:
            batch.image.fill_(float("inf"))
        return arguments(self, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(METHODS[name], "arguments", broken)
        with pytest.raises(StageError) as caught:
            train(recipe(name, data, out), StopRequest())
    dist.barrier()
    return str(caught.value), keys


def _all(rank: int, data: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Everything that two ranks do for this file: processes are dear."""
    with replayed():
        for name in VARIANTS:
            train(recipe(name, data, folder / name), StopRequest())
    return {name: _not_finite(rank, name, data, folder / "broken" / name) for name in METHODS}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def ranks(data: dict[str, Path], folder: Path) -> list[dict[str, Any]]:
    return run_ranks(_all, 2, folder, data, folder)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.usefixtures("ranks")
def test_two_ranks_compute_what_one_process_computes_with_the_whole_batch(name: str, data: dict[str, Path], folder: Path) -> None:
    with replayed():
        train(recipe(name, data, folder / name / "alone"), StopRequest())
    assert_same_training(folder / name, folder / name / "alone")


@pytest.mark.parametrize("name", METHODS)
def test_a_loss_that_is_not_finite_stops_both_ranks_before_the_update_and_names_step_terms_and_lines(
    name: str, ranks: list[dict[str, Any]], folder: Path
) -> None:
    """The lines of all ranks are compared, so that a picture of one rank spoils the losses of both, and the lines of both are named."""
    (first, _), (second, keys) = (rank[name] for rank in ranks)
    assert first == second
    assert first.startswith("not finite at step 2: ")
    terms = first.removeprefix("not finite at step 2: ").partition(";")[0].split(", ")
    assert {"gradient_norm", "total"} < set(terms)
    assert len(keys) == 2
    assert f"rank 1: {', '.join(keys[1])}" in first
    assert "unknown" not in first
    assert not (folder / "broken" / name / "checkpoint" / "latest").exists()
