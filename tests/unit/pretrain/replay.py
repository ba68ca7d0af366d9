"""Pre-trainings whose random choices do not depend on the number of ranks, so that any number of them computes the same.

The batch of a step lies in BLOCKS equal consecutive blocks. Each draws for itself (masks, negatives, images of prompts), as a rank of
BLOCKS ranks would; whichever process holds a block makes its draws. `python -m tests.unit.pretrain.replay train --config ...` is
`python -m pretrain train --config ...` with that, for launchers to start; REPLAY_BLOCKS says how many. REPLAY_HOLD names a file: while it
is there, the step whose number it holds does not begin until a signal comes, so that a test can stop a training where it likes.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from pipeline.contracts.attributes import PERSON_27
from pipeline.signals import StopRequest
from pretrain.chance import Chance
from pretrain.config import PretrainConfig
from pretrain.distributed import rank, world_size
from pretrain.draws import Draws
from pretrain.losses.itm import NegativeWeights
from pretrain.masking import Masked, Masker
from pretrain.objective import Texts
from tests.unit.pretrain.samples import tiny_config

HOLD_S = 300.0


@dataclass(frozen=True)
class BlockDraws:
    """The draws of this process's blocks, in the row numbers of its own batch."""

    blocks: list[Draws]

    def negatives(self, weights: NegativeWeights) -> tuple[Tensor, Tensor]:
        size = len(weights.image_for_text) // len(self.blocks)
        found = []
        for number, draws in enumerate(self.blocks):
            rows = slice(number * size, (number + 1) * size)
            own = NegativeWeights(weights.image_for_text[rows, rows], weights.text_for_image[rows, rows])
            found.append([index + rows.start for index in draws.negatives(own)])
        return torch.cat([pair[0] for pair in found]), torch.cat([pair[1] for pair in found])

    def prompts(self, num_prompts: int, count: int) -> Tensor:
        return self.blocks[0].prompts(num_prompts, count)  # the same on every rank

    def positives(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        size = len(matches) // len(self.blocks)
        found = [(draws.positives(matches[n * size : (n + 1) * size]), n * size) for n, draws in enumerate(self.blocks)]
        return torch.cat([prompts for (prompts, _), _ in found]), torch.cat([images + start for (_, images), start in found])


class BlockChance:
    """In the place of `pretrain.chance.Chance`."""

    def __init__(self, seed: int, rank: int, device: torch.device, num_blocks: int) -> None:
        share = num_blocks // world_size()
        self._blocks = [Chance(seed, number, device) for number in range(rank * share, (rank + 1) * share)]
        self._first = Chance(seed, 0, device)

    def start(self, step: int, part: int = 0) -> Draws:
        assert part == 0
        _hold(step)
        return BlockDraws([chance.start(step) for chance in self._blocks])

    def masked(self, masker: Masker, texts: Texts, step: int, name: str) -> Texts:
        if name == "prompts":  # one mask for all, since one process has but one
            return self._first.masked(masker, texts, step, name)
        rows = torch.arange(len(texts.ids)).chunk(len(self._blocks))
        parts = [chance.masked(masker, texts.at(row), step, name).masked for chance, row in zip(self._blocks, rows, strict=True)]
        masked = Masked(*(torch.cat([getattr(part, field) for part in parts]) for field in ("ids", "positions", "targets")))
        return Texts(texts.ids, texts.mask, masked)


def _hold(step: int) -> None:
    file, deadline = os.environ.get("REPLAY_HOLD"), time.monotonic() + HOLD_S
    while file and time.monotonic() < deadline and _asked() is None:
        try:
            if int(Path(file).read_text()) != step:
                return
        except (FileNotFoundError, ValueError):
            return
        time.sleep(0.05)


def _asked() -> int | None:
    """The signal that this training has received, if any: who holds a step lets go to be stopped."""
    request = getattr(signal.getsignal(signal.SIGUSR1), "__self__", None)
    return request.received if isinstance(request, StopRequest) else None


@contextmanager
def replayed(num_blocks: int) -> Iterator[None]:
    """`pretrain.train.train` draws by blocks inside."""
    with mock.patch("pretrain.train.Chance", partial(BlockChance, num_blocks=num_blocks)):
        yield


def config(shards: Path, out: Path, batch: int, steps: int, **engine: Any) -> PretrainConfig:
    """No dropout, texts of one length, and all prompts, so that each step has a loss of IAM.

    Weights and eps are large enough for rounding not to be amplified by Adam.
    """
    shape = {"height": 64, "width": 32, "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "window_size": 4}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "num_layers": 2, "fusion_layer": 1, "max_positions": 64}
    return tiny_config(
        shards,
        out,
        model={"vision": {**shape, "drop_path": 0.0, "init_std": 0.1}, "text": {**text, "dropout": 0.0, "init_std": 0.1}},
        text={"pad": "max", "max_tokens": 32},
        objective={"num_matching_prompts": len(PERSON_27.prompts)},
        optim={"lr": 1e-3, "eps": 1e-3, "warmup": 0, "clip_norm": 5.0},
        train={"steps": steps, "global_batch": batch, "save_every": steps},
        engine={"kind": "torch", "device": "cpu", **engine},
    )


if __name__ == "__main__":
    from pretrain import cli

    assert rank() == 0  # not joined yet
    with replayed(int(os.environ["REPLAY_BLOCKS"])):
        cli.main()
