"""Numbers of a config: what is in a range, how a refusal reads, and that the training configs let no such number through."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from finetune.recipes import load_recipe
from pipeline.config import load
from pipeline.contracts.errors import ConfigError
from pipeline.ranges import BELOW_1, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_filled, check_ranges
from pretrain.config import PretrainConfig

CONFIGS = Path(__file__).parents[3] / "configs"
IN_BOTH = (
    "seed=-1",
    "out=''",
    "data.workers=-1",
    "optim.lr=.nan",
    "optim.betas=[0.9, 1.0]",
    "optim.eps=0",
    "optim.weight_decay=-1",
    "train.epochs=.inf",
    "image.std=[0, 1, 1]",
)
OF_APTM = (
    "model.vision.num_heads=[0, 2, 4, 8]",
    "model.vision.window_size=0",
    "model.vision.height=0",
    "model.text.num_heads=0",
    "model.text.dropout=1.5",
    "model.temperature=0",
    "text.masking.skipgram_probability=2",
    "text.max_words=0",
    "text.max_tokens=65",
)


@dataclass(frozen=True)
class Section:
    rate: float = 0.5
    pair: tuple[float, float] = (0.0, 1.0)
    size: int | None = None
    name: str = "x"


@pytest.mark.parametrize(
    ("allowed", "inside", "outside", "words"),
    [
        (POSITIVE, (1e-9, 5), (0, -1), "above 0"),
        (NOT_NEGATIVE, (0, 7), (-1e-9,), "0 and more"),
        (COUNT, (1, 10**9), (0, -3), "1 and more"),
        (SHARE, (0, 1), (-0.1, 1.1), "0 to 1"),
        (BELOW_1, (0, 0.999), (1,), "0 to below 1"),
        (Range(0, 1, open_below=True), (0.1, 1), (0,), "above 0 to 1"),
    ],
)
def test_a_range_holds_its_numbers_and_says_which(allowed: Range, inside: tuple, outside: tuple, words: str) -> None:
    assert all(value in allowed for value in inside)
    assert not any(value in allowed for value in (*outside, math.nan, math.inf, -math.inf))
    assert str(allowed) == words


def test_a_refusal_names_field_value_and_range_and_none_passes() -> None:
    check_ranges("a", Section(), rate=SHARE, pair=SHARE, size=COUNT)
    with pytest.raises(ConfigError, match=r"^a\.pair=\[0\.0, 2\.0\]; accepted: 0 to 1$"):
        check_ranges("a", Section(pair=(0.0, 2.0)), pair=SHARE)
    with pytest.raises(ConfigError, match=r"^size=0; accepted: 1 and more$"):
        check_ranges("", Section(size=0), size=COUNT)
    with pytest.raises(ConfigError, match=r"^a\.name=' '; accepted: a path or name that is not empty$"):
        check_filled("a", Section(name=" "), "name")


@pytest.mark.parametrize("override", [*IN_BOTH, *OF_APTM])
def test_no_training_starts_from_an_impossible_number(override: str) -> None:
    field = override.partition("=")[0].replace(".", r"\.")
    with pytest.raises(ConfigError, match=field):
        load(PretrainConfig, CONFIGS / "pretrain" / "demo.yaml", [override])
    with pytest.raises(ConfigError, match=field):
        load_recipe(CONFIGS / "finetune" / "embedded.yaml", [override])
    if override in IN_BOTH:
        with pytest.raises(ConfigError, match=field):
            load_recipe(CONFIGS / "finetune" / "irra.yaml", [override])
