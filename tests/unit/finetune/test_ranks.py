"""Fine-tuning with two ranks: the losses and gradients of one process with the whole batch, one queue, exact continuation, one culprit."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

from finetune.cli import main
from finetune.datasets.lines import TrainingLines
from finetune.methods.start import start_method
from finetune.recipes import RECIPES, Recipe
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import StageError
from pipeline.signals import Stopped, StopRequest
from pretrain.checkpoint import resolve
from pretrain.distributed import mean_over_ranks
from pretrain.draws import RecordedDraws
from pretrain.objective import weighted_total
from tests.conftest import ROOT
from tests.unit.finetune.conftest import MODEL
from tests.unit.finetune.test_training import StopAfter
from tests.unit.finetune.tiny_models import BLIP, CLIP
from tests.unit.pretrain.ranks import run_ranks

CPU, BATCH, WORLD, STEPS = torch.device("cpu"), 8, 2, 2
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}
CALM = {name: {**part, **STILL} if isinstance(part, dict) else part for name, part in BLIP.items()}
STEADY = {**MODEL, "vision": {**MODEL["vision"], "drop_path": 0.0}, "text": {**MODEL["text"], "dropout": 0.0}}
ALL_TERMS = {"irm": 1.0, "ac": 1.0, "itc": 0.5, "tal": 0.5}
METHODS: dict[str, dict[str, Any]] = {
    "aptm": {"model": STEADY, "objective": {"attribute_weight": 0.8}, "text": {"pad": "max"}},
    "irra": {"model": {"clip": CLIP, "cross_layers": 1}, "objective": ALL_TERMS},
    "blip": {"model": {"config": CALM, "queue_size": 20}},
}


def recipe(method: str, miniature: Path, out: Path, **changes: Any) -> Recipe:
    """Tiny, without dropout, four steps."""
    tree = {
        "method": method,
        "out": str(out),
        "data": {"folder": str(miniature), "kinds": ["vehicle"] if method == "blip" else ["pedestrian"]},
        "train": {"steps": 4, "global_batch": 4, "save_every": 4},
        "engine": {"kind": "torch", "device": "cpu"},
        "eval": {"times": 1, "shortlist": 4},
    }
    return build(RECIPES[method], tree | METHODS[method] | changes, "test")


class _Replayed(RecordedDraws):
    """Of every rank the same choices, told in the numbers of the whole batch: row i is compared with i + 1 and i + 2 of all rows."""

    def __init__(self, rows: slice, total: int, inside: int) -> None:
        """inside: rows that negatives may be drawn from, as ranks see them; the whole batch, or a rank's share."""
        self._rows, self._total, self._inside = torch.arange(total)[rows], total, inside
        super().__init__()

    def negatives(self, weights: Any) -> tuple[Tensor, Tensor]:
        first = self._rows - self._rows % self._inside  # of the share that holds each row
        chosen = [first + (self._rows + step) % self._inside for step in (1, 2)]
        offset = 0 if weights.image_for_text.shape[1] == self._total else int(self._rows[0])  # columns of all ranks, or of this one
        return chosen[0] - offset, chosen[1] - offset

    def prompts(self, num_prompts: int, count: int) -> Tensor:
        return torch.arange(count) * 3

    def positives(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        """Of each share, the first image that a prompt is true of."""
        found = []
        for start in range(0, len(matches), self._inside):
            share = matches[start : start + self._inside]
            prompts = share.any(0).nonzero()[:, 0]
            found.append((prompts, share.int().argmax(0)[prompts] + start))
        return torch.cat([prompts for prompts, _ in found]), torch.cat([images for _, images in found])


def _learn(
    rank: int, world: int, name: str, miniature: Path, inside: int
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor]]:
    """One step by SGD and the terms of a second one: means over ranks, gradients of the second, and all buffers after both."""
    config = recipe(name, miniature, Path("unused"), train={"global_batch": BATCH})
    method = start_method(config, TrainingLines.read(Path(config.data.folder), config.data), CPU)
    groups = method.groups()
    module = nn.parallel.DistributedDataParallel(method.step, broadcast_buffers=False) if world > 1 else method.step
    local = BATCH // world
    for step, batch in enumerate(method.batches(0, STEPS, rank, world)):
        module.zero_grad()
        batch, *others = method.arguments(batch, step)
        if name == "aptm":  # the masks of a step are drawn by each rank; here they do not matter
            others[0] = _unmasked(others[0], 4)
            batch = type(batch)(batch.image, _unmasked(batch.texts, 6), batch.second, batch.identities, batch.labels)
        if name != "irra":
            others[-1] = _Replayed(slice(rank * local, (rank + 1) * local), BATCH, inside)
        terms = module(batch, *others)
        weighted_total(terms, method.term_weights()).backward()
        if step == 0:
            with torch.no_grad():
                for parameter in (p for group in groups for p in group["params"] if p.grad is not None):
                    parameter.sub_(0.001 * parameter.grad)
    gradients = {n: p.grad for n, p in method.model.named_parameters() if p.grad is not None}
    means = {n: mean_over_ranks(v.detach()) for n, v in terms.items()}
    return means, gradients, {n: b.clone() for n, b in method.model.named_buffers() if "queue" in n}


def _unmasked(texts: Any, place: int) -> Any:
    """One piece of every text is hidden, at the same place."""
    from dataclasses import replace

    masked = texts.masked
    positions, targets = torch.zeros_like(masked.positions), torch.full_like(masked.targets, -100)
    positions[:, 0], targets[:, 0] = place, texts.ids[:, place]
    ids = texts.ids.clone()
    ids[:, place] = 4
    return replace(texts, masked=type(masked)(ids, positions, targets))


def _resumed(rank: int, name: str, miniature: Path, folder: Path) -> None:
    """A whole training, then one that is stopped after a step, on both ranks, and continued."""
    os.environ |= {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}
    engine = {"kind": "deepspeed", "zero_stage": 1, "device": "cpu"} if name == "irra" else {"kind": "torch", "device": "cpu"}
    whole, parts = (recipe(name, miniature, folder / part, engine=engine) for part in ("whole", "parts"))
    train(whole, StopRequest())
    with pytest.raises(Stopped, match="stopped at step 2 of 4"):
        train(parts, StopAfter(1) if rank else StopRequest())
    train(parts, StopRequest())


def _not_finite(rank: int, miniature: Path, out: Path) -> str:
    """Rank 1 gets a picture of nothing but infinities in its second step."""
    config = recipe("irra", miniature, out)
    from finetune.methods.clip_methods import IrraMethod

    arguments = IrraMethod.arguments

    def broken(self: IrraMethod, batch: Any, step: int) -> Any:
        if rank == 1 and step == 1:
            batch.image.fill_(float("inf"))
        return arguments(self, batch, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(IrraMethod, "arguments", broken)
        with pytest.raises(StageError) as caught:
            train(config, StopRequest())
    dist.barrier()
    return str(caught.value)


def _all(rank: int, miniature: Path, folder: Path) -> dict[str, Any]:
    """Everything that two ranks do for this file: processes are dear."""
    learned = {name: _learn(rank, WORLD, name, miniature, _inside(name)) for name in METHODS}
    for name in METHODS:
        _resumed(rank, name, miniature, folder / name)
    return {**learned, "message": _not_finite(rank, miniature, folder / "broken")}


def _inside(name: str) -> int:
    """APTM draws its negatives inside a rank, as published; BLIP among all ranks, as published too."""
    return BATCH // WORLD if name == "aptm" else BATCH


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ranks")


@pytest.fixture(scope="module")
def ranks(miniature: Path, folder: Path) -> list[dict[str, Any]]:
    return run_ranks(_all, WORLD, folder, miniature, folder)


@pytest.mark.parametrize("name", METHODS)
def test_two_ranks_have_losses_gradients_and_queue_of_one_process(name: str, ranks: list[dict[str, Any]], miniature: Path) -> None:
    """To 1e-5 in float32, after an update; relative to the larger of 1 and the value or the gradient's norm."""
    terms, gradients, queue = _learn(0, 1, name, miniature, _inside(name))
    for found, found_gradients, found_queue in (rank[name] for rank in ranks):
        assert {n: float(v) for n, v in found.items()} == pytest.approx({n: float(v) for n, v in terms.items()}, abs=1e-5, rel=1e-5)
        assert found_gradients.keys() == gradients.keys()
        for key, gradient in gradients.items():
            assert (found_gradients[key] - gradient).norm() <= 1e-5 * max(1.0, float(gradient.norm())), key
        assert all(torch.allclose(found_queue[key], queue[key], atol=1e-6) for key in queue)
    assert all(torch.equal(ranks[0][name][2][key], ranks[1][name][2][key]) for key in queue)
    assert bool(queue) == (name == "blip")


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.usefixtures("ranks")
def test_two_ranks_that_were_stopped_end_with_the_bits_of_two_that_were_not(name: str, folder: Path) -> None:
    """IRRA on DeepSpeed with ZeRO 1, the others on plain torch."""
    folders = [resolve(folder / name / part / "checkpoint") for part in ("whole", "parts")]
    for file in ("model.safetensors", "training_state/optimizer.safetensors"):
        whole, parts = (load_file(folder / file) for folder in folders)
        assert whole.keys() == parts.keys()
        assert all(torch.equal(whole[key], parts[key]) for key in whole), file


def test_a_loss_that_is_not_finite_on_one_rank_stops_both_before_the_update(ranks: list[dict[str, Any]], folder: Path) -> None:
    for message in (rank["message"] for rank in ranks):
        assert message.startswith("not finite at step 1: ")
        assert "gradient_norm" in message
        assert "rank 1" in message
    assert not (folder / "broken" / "checkpoint" / "latest").exists()


def test_the_option_that_the_deepspeed_launcher_adds_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--local_rank=1", "train", "--config", str(ROOT / "configs/finetune/irra.yaml"), "--print-config"])
    assert end.value.code == 0
    assert "method: irra" in capsys.readouterr().out
