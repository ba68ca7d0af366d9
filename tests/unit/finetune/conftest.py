"""A challenge miniature of a few pictures and a config for a model of a few thousand weights."""

from pathlib import Path
from typing import Any

import pytest

from finetune.config import FinetuneConfig
from generation.embedded.miniature import MiniatureSizes, make_miniature
from pipeline.config import build

TINY = MiniatureSizes(train_people=3, train_vehicles=6, val_people=2, val_vehicles=2, test_people=2, test_vehicles=2)
MODEL = {
    "vision": {"height": 32, "width": 16, "embed_dim": 8, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4, "drop_path": 0.1},
    "text": {"hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "num_layers": 2, "fusion_layer": 1, "max_positions": 64},
    "embed_dim": 8,
}


@pytest.fixture(scope="session")
def miniature(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("challenge") / "miniature"
    make_miniature(out, 5, TINY)
    return out


@pytest.fixture
def tiny_tree(miniature, tmp_path) -> dict[str, Any]:
    """A whole config as it would stand in a recipe: four steps, two validations."""
    return {
        "out": str(tmp_path / "out"),
        "data": {"folder": str(miniature)},
        "model": MODEL,
        "train": {"steps": 4, "global_batch": 8, "save_every": 2, "keep": 9},
        "engine": {"kind": "torch", "device": "cpu"},
        "optim": {"lr": 1e-2},
        "eval": {"times": 2, "shortlist": 4},
    }


@pytest.fixture
def tiny_config(tiny_tree) -> FinetuneConfig:
    return build(FinetuneConfig, tiny_tree, "test")
