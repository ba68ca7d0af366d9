"""What a training, its validation and its test read of a data set: kinds, and identities held out."""

from pathlib import Path

import pytest

from finetune.config import DataConfig
from finetune.datasets.lines import TrainingLines
from finetune.datasets.retrieval_split import read_testing, read_validation
from finetune.recipes import IrraRecipe
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import ContractError
from pipeline.signals import StopRequest
from tests.unit.finetune.tiny_models import CLIP

SPLITS = ("train", "val", "test")


@pytest.mark.parametrize("paper_protocol", [False, True])
def test_nothing_is_held_out_where_the_checkpoint_is_chosen_on_test(people, tmp_path, paper_protocol):
    tree = {
        "method": "irra",
        "out": str(tmp_path / "out"),
        "data": {"name": "icfg-pedes", "folder": str(people), "val_share": 0.4},
        "model": {"clip": CLIP, "cross_layers": 1},
        "train": {"steps": 1, "global_batch": 3},
        "engine": {"kind": "torch", "device": "cpu"},
        "eval": {"times": 1, "paper_protocol": paper_protocol},
    }
    summary = train(build(IrraRecipe, tree, "test"), StopRequest())
    assert (summary["train_lines"] == 12) is paper_protocol, "six persons of two captions"
