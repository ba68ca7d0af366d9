"""Tiny fine-tunings of every method whose random choices do not depend on the number of ranks, and a program for launchers to start.

`python -m tests.unit.finetune.replay FOLDER NAME ...` trains FOLDER/NAME.yaml by `python -m finetune train`: in FOLDER/NAME/whole to its
end, and in FOLDER/NAME/parts until the last rank gets a SIGTERM in its second step, and then, started again, to its end.
What is drawn follows from blocks of the batch, as in `tests.unit.pretrain.replay`.
"""

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from finetune import cli
from finetune.recipes import RECIPES, Recipe
from pipeline.config import build
from pipeline.signals import Stopped
from pretrain import loop
from pretrain.checkpoint import MODEL_FILE, resolve
from pretrain.distributed import rank, world_size
from pretrain.draws import Draws
from pretrain.losses.itm import NegativeWeights
from tests.unit.finetune.conftest import MODEL
from tests.unit.finetune.tiny_models import BLIP, CLIP
from tests.unit.pretrain.replay import BlockChance, BlockDraws

BLOCKS, STEPS, STOPPED_IN = 2, 4, 1
STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}
CALM = {name: {**part, **STILL} if isinstance(part, dict) else part for name, part in BLIP.items()}
STEADY = {**MODEL, "vision": {**MODEL["vision"], "drop_path": 0.0}, "text": {**MODEL["text"], "dropout": 0.0}}
APTM: dict[str, Any] = {"method": "aptm", "model": STEADY, "text": {"pad": "max"}}
ONLY_ATTRIBUTES = {"itc_weight": 0, "itm_weight": 0, "mlm_weight": 0, "second_view": 0, "attribute_weight": 3.0}
VARIANTS: dict[str, dict[str, Any]] = {
    "aptm": {**APTM, "data": {"kinds": ["pedestrian"]}, "objective": {"attribute_weight": 0.8}},
    "aptm_persons": {**APTM, "data": {"name": "cuhk-pedes"}},
    "aptm_attributes": {**APTM, "data": {"name": "pa-100k"}, "objective": ONLY_ATTRIBUTES, "eval": {"select": "mean_accuracy"}},
    "aptm_contrastive": {**APTM, "data": {"name": "cuhk-pedes"}, "objective": {"itm_weight": 0, "mlm_weight": 0}},
    "irra": {
        "method": "irra",
        "data": {"kinds": ["pedestrian"]},
        "model": {"clip": CLIP, "cross_layers": 1},
        "objective": {"irm": 1.0, "ac": 1.0, "itc": 0.5, "tal": 0.5},
        "mining": {"share": 0.5, "distance": 3},
        "ema": 0.9,
    },
    "blip": {"method": "blip", "data": {"kinds": ["vehicle"]}, "model": {"config": CALM, "queue_size": 20}},
    "clip": {"method": "clip", "model": {"clip": CLIP}, "image": {"square": True}},
}
"""Of each: no dropout. "irra" is the winners' recipe, "clip" A3R's; "aptm_contrastive" has terms and heads without weight."""


def recipe(name: str, data: dict[str, Path], out: Path, **changes: Any) -> Recipe:
    """Tiny, four steps. data: folders of the challenge and of person sets. eps is large, so that Adam does not amplify rounding."""
    tree = {
        "out": str(out),
        "train": {"steps": STEPS, "global_batch": 4, "save_every": STEPS},
        "engine": {"kind": "torch", "device": "cpu"},
        "optim": {"lr": 1e-3, "eps": 1e-3},
    }
    variant = {"data": {}} | VARIANTS[name]
    folder = data["people" if "name" in variant["data"] else "challenge"]
    tree |= variant | {"data": {**variant["data"], "folder": str(folder)}}
    tree |= {"eval": {"times": 1, "shortlist": 4, **variant.get("eval", {})}} | changes
    return build(RECIPES[tree["method"]], tree, "test")


class WideDraws(BlockDraws):
    """BLIP's negatives come from the whole batch."""

    def negatives(self, weights: NegativeWeights) -> tuple[Tensor, Tensor]:
        parts = zip(weights.image_for_text.chunk(len(self.blocks)), weights.text_for_image.chunk(len(self.blocks)), strict=True)
        found = [draws.negatives(NegativeWeights(*part)) for draws, part in zip(self.blocks, parts, strict=True)]
        return torch.cat([images for images, _ in found]), torch.cat([texts for _, texts in found])


class WideChance(BlockChance):
    def start(self, step: int, part: int = 0) -> Draws:
        draws = super().start(step, part)
        assert isinstance(draws, BlockDraws)
        return WideDraws(draws.blocks)


@contextmanager
def replayed(blocks: int = BLOCKS) -> Iterator[None]:
    """`finetune.train.train` draws by blocks inside. IRRA and CLIP draw nothing by rank."""
    with (
        mock.patch("finetune.methods.aptm.Chance", partial(BlockChance, num_blocks=blocks)),
        mock.patch("finetune.methods.blip.Chance", partial(WideChance, num_blocks=blocks)),
    ):
        yield


@contextmanager
def terminated() -> Iterator[None]:
    """The last rank gets a SIGTERM in the step STOPPED_IN."""
    agree = loop.agree

    def asked(terms: Any, total: Tensor, step: int, *rest: Any) -> Any:
        if step == STOPPED_IN and rank() == world_size() - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return agree(terms, total, step, *rest)

    with mock.patch.object(loop, "agree", asked):
        yield


def losses(out: Path) -> list[dict[str, float]]:
    """Of each step: what depends on arithmetic alone."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name.startswith("train/")} for row in rows]


def weights(out: Path) -> dict[str, Tensor]:
    """And buffers, such as queues, of the newest checkpoint."""
    return load_file(resolve(out / "checkpoint") / MODEL_FILE)


def assert_same_training(found: Path, expected: Path) -> None:
    """Every term and the gradient norm of every step, to 1e-5 of the larger of 1 and the value; weights and queues at the end."""
    steps = losses(expected)
    assert len(losses(found)) == len(steps) == STEPS
    for step, values in zip(losses(found), steps, strict=True):
        assert step == pytest.approx(values, abs=1e-5, rel=1e-5)
    end, wanted = weights(found), weights(expected)
    assert end.keys() == wanted.keys()
    assert not [name for name in wanted if not torch.allclose(end[name].float(), wanted[name].float(), atol=1e-5, rtol=1e-5)]


def _train(options: list[str], config: Path, out: Path) -> int:
    """The exit code of `python -m finetune train`."""
    try:
        cli.main([*options, "train", "--config", str(config), "--set", f"out={out}"])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def main(arguments: list[str]) -> None:
    options = [item for item in arguments if item.startswith("--local_rank")]  # the deepspeed launcher's
    folder, *names = (item for item in arguments if item not in options)
    for name in names:
        config, out = Path(folder) / f"{name}.yaml", Path(folder) / name
        with replayed():
            assert _train(options, config, out / "whole") == 0
            with terminated():
                assert _train(options, config, out / "parts") == Stopped.exit_code
            assert _train(options, config, out / "parts") == 0


if __name__ == "__main__":
    main(sys.argv[1:])
