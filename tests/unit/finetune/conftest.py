"""A challenge miniature of a few pictures and a config for a model of a few thousand weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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


PEOPLE = {"train": 6, "val": 2, "test": 2}


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    """A person set in every published layout at once: ten persons, one picture each; ICFG holds two of its training persons out."""
    root = tmp_path_factory.mktemp("people")
    rng, entries, labels = np.random.default_rng(0), [], {}
    for split, count in PEOPLE.items():
        labels[split] = []
        for number in range(count):
            name, bits = f"{split}_{number}.jpg", rng.integers(0, 2, 26).tolist()
            Image.fromarray(rng.integers(0, 255, (32, 16, 3), dtype=np.uint8)).save(root / name)
            captions = [f"a person in {'red' if bits[0] else 'blue'} number {number}", "a tall person with a bag"]
            entries.append({"split": split, "id": f"{split}{number}", "file_path": name, "captions": captions})
            labels[split].append({"image": name, "label": bits})
        (root / f"pa100k_{split}.json").write_text(json.dumps(labels[split]))
    for name in ("reid_raw.json", "ICFG-PEDES.json", "data_captions.json"):
        (root / name).write_text(json.dumps(entries))
    return root


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
