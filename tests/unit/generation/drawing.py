"""Pictures drawn by a stage of its own: what the tests of generate share."""

from collections.abc import Sequence

import numpy as np

from generation.config import GenerateConfig
from generation.generate import GenerateStage
from generation.images import decode_rgb
from pipeline.contracts.stage import Item, Keep

PROMPTS = ("a man in a red shirt", "a woman in a blue dress", "a boy")


def run(config: GenerateConfig, keys: Sequence[str] = ("000000000_00", "000000001_00", "000000002_00")) -> list[Keep]:
    stage = GenerateStage(config, run_seed=7)
    stage.setup()
    items = [Item(key, {"prompt": PROMPTS[int(key[:9])]}) for key in keys]
    outcomes = [stage.process(items[i : i + stage.batch_size]) for i in range(0, len(items), stage.batch_size)]
    stage.teardown()
    flat = [outcome for batch in outcomes for outcome in batch]
    assert all(isinstance(outcome, Keep) for outcome in flat)
    return flat  # type: ignore[return-value]


def pixels(outcome: Keep) -> np.ndarray:
    assert outcome.image is not None
    return decode_rgb(outcome.image).astype(int)
