"""What a training finds in its folder: its own best checkpoint or another's, a validation that it was asked to leave before."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from finetune.best import best_folder, find_checkpoint
from finetune.config import FinetuneConfig
from finetune.evaluate import evaluate
from finetune.export import export_checkpoint
from finetune.methods.ema import Ema
from finetune.tasks import RetrievalTask
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.signals import Stopped, StopRequest
from pretrain.checkpoint import MODEL_FILE
from tests.unit.finetune.test_training import StopAfter, assert_equal_weights


def configured(tree: dict, out: Path, **changes) -> FinetuneConfig:
    return build(FinetuneConfig, tree | {"out": str(out)} | changes, "test")


def interrupt(*_arguments):
    raise KeyboardInterrupt


def train_and_keep_the_best_alone(config: FinetuneConfig) -> Path:
    """As if the newest checkpoints had been deleted to save room; returns the best."""
    train(config, StopRequest())
    root = Path(config.out) / "checkpoint"
    best = best_folder(root)
    assert best is not None
    for folder in root.glob("step-*"):
        shutil.rmtree(folder)
    return best


def test_the_best_checkpoint_of_another_training_is_refused_and_ones_own_is_kept(tiny_tree, tmp_path):
    train_and_keep_the_best_alone(configured(tiny_tree, tmp_path / "out"))
    with pytest.raises(ContractError, match="holds the best checkpoint of another config or other data; delete it"):
        train(configured(tiny_tree, tmp_path / "out", seed=7), StopRequest())
    assert train(configured(tiny_tree, tmp_path / "out"), StopRequest())["steps"] == 4
    whole = train(configured(tiny_tree, tmp_path / "whole"), StopRequest())
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["test"] == whole["test"]


def test_an_export_leaves_the_checkpoints_of_trainings_alone(tiny_tree, tmp_path):
    config = configured(tiny_tree, tmp_path / "out")
    best, given = train_and_keep_the_best_alone(config), tmp_path / "given"
    export_checkpoint(best, given)
    for place in (tmp_path / "out", best.parent, best, best.parent / "new"):
        with pytest.raises(ConfigError, match="is where a training keeps its own checkpoints"):
            export_checkpoint(given, place)
    export_checkpoint(tmp_path / "out", tmp_path / "out" / "export")
    assert best_folder(best.parent) == best


@pytest.mark.parametrize("log_every", [1, 3])
def test_a_training_that_is_asked_to_leave_saves_first_and_validates_when_it_continues(tiny_tree, tmp_path, monkeypatch, log_every):
    changes = {"train": tiny_tree["train"] | {"log_every": log_every}}
    expected = train(configured(tiny_tree, tmp_path / "whole", **changes), StopRequest())
    config, root = configured(tiny_tree, tmp_path / "parts", **changes), tmp_path / "parts" / "checkpoint"
    with pytest.raises(Stopped, match="stopped at step 2 of 4"):
        train(config, StopAfter(1))
    assert best_folder(root) is None, "no validation held the training up"
    monkeypatch.setattr(RetrievalTask, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(config, StopRequest())
    monkeypatch.undo()
    summary = train(config, StopRequest())
    assert {**summary, "seconds": 0} == {**expected, "seconds": 0}
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")
    rows = [json.loads(line) for line in (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows if "val/map" in row] == [2, 4]


def test_a_training_that_is_asked_to_leave_or_killed_at_its_last_validation_does_it_again(tiny_tree, tmp_path, monkeypatch):
    expected = train(configured(tiny_tree, tmp_path / "whole", eval={"times": 1, "shortlist": 4}), StopRequest())
    config = configured(tiny_tree, tmp_path / "parts", eval={"times": 1, "shortlist": 4})
    with monkeypatch.context() as patch:
        patch.setattr(RetrievalTask, "run", interrupt)
        with pytest.raises(Stopped, match="stopped at step 4 of 4"):
            train(config, StopAfter(3))
        with pytest.raises(KeyboardInterrupt):
            train(config, StopRequest())
    summary = train(config, StopRequest())
    assert (summary["best_step"], summary["val"], summary["test"]) == (4, expected["val"], expected["test"])


@pytest.mark.parametrize("is_summed_up", [False, True])
def test_a_finished_training_that_has_lost_its_best_checkpoint_validates_the_last_one(tiny_tree, tmp_path, is_summed_up):
    config, out = configured(tiny_tree, tmp_path / "out"), tmp_path / "out"
    train(config, StopRequest())
    if not is_summed_up:
        (out / "summary.json").unlink()
    shutil.rmtree(best_folder(out / "checkpoint") or out)
    summary = train(config, StopRequest())
    assert summary["best_step"] == 4
    assert find_checkpoint(out) == best_folder(out / "checkpoint") == out / "checkpoint" / "best-00000004"
    assert json.loads((out / "summary.json").read_text()) == summary
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["val/map"] == summary["val"]["all"]["map"]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_where_the_best_checkpoint_is_damaged_or_lost_no_other_takes_its_place(tiny_tree, tmp_path):
    """The advice is followed: delete it, and run the training again."""
    config, out = configured(tiny_tree, tmp_path / "out"), tmp_path / "out"
    train(config, StopRequest())
    best = best_folder(out / "checkpoint")
    assert best is not None
    (best / MODEL_FILE).write_bytes(b"half")
    with pytest.raises(ContractError, match=rf"delete the folder {best} and run the training again: .* chooses anew"):
        evaluate(config, out, "val")
    shutil.rmtree(best)
    for folder in (out, out / "checkpoint"):
        with pytest.raises(ContractError, match=r"checkpoint/best names no whole checkpoint; run the training again"):
            evaluate(config, folder, "val")
    assert evaluate(config, out / "checkpoint" / "step-00000002", "val")
    summary = train(config, StopRequest())
    assert evaluate(config, out, "val") == summary["val"]


def test_engine_and_batches_of_evaluation_may_change_between_a_training_and_its_continuation(tiny_tree, tmp_path):
    config = configured(tiny_tree, tmp_path / "out")
    with pytest.raises(Stopped):
        train(config, StopAfter(0))
    assert train(configured(tiny_tree, tmp_path / "out", eval=tiny_tree["eval"] | {"batch_size": 3}), StopRequest())["steps"] == 4
    other = configured(tiny_tree, tmp_path / "out", engine={"kind": "deepspeed", "zero_stage": 2})
    assert other.training_tree() == config.training_tree()


def test_averages_that_are_damaged_are_named_with_the_way_out(tmp_path):
    averages = Ema(torch.nn.Linear(2, 2), 0.9)
    averages.save(tmp_path / "training_state")
    averages.load(tmp_path / "training_state")
    (tmp_path / "training_state" / "ema.safetensors").write_bytes(b"x")
    with pytest.raises(ContractError, match=rf"ema\.safetensors is not a readable .* delete the folder {tmp_path} and use another one"):
        averages.load(tmp_path / "training_state")
