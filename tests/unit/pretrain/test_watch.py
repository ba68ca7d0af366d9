"""The guard against jumps of the loss, and validation during a training."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.signals import Stopped, StopRequest
from pretrain import checkpoint, loop, objective
from pretrain.train import train
from pretrain.watch import WINDOW, SpikeGuard
from tests.unit.pretrain.ranks import run_ranks
from tests.unit.pretrain.samples import make_shards, tiny_config
from tests.unit.pretrain.test_train import StopAfter


def test_a_jump_over_the_median_stops_and_a_slow_rise_does_not(shards: Path, tmp_path: Path) -> None:
    way_out = loop.WayOut(tmp_path, tiny_config(shards, tmp_path))
    guard = SpikeGuard(3.0, way_out)
    for step in range(WINDOW):
        guard.check(1.0 if step else 100.0, step)  # before the window is full nothing is a jump
    guard.check(2.9, WINDOW)
    with pytest.raises(StageError, match=r"jumped to 3\.1 at step 61, 3\.1 times the median .* train\.spike_factor=3 and run"):
        guard.check(3.1, 60)
    SpikeGuard(0.0, way_out).check(1e9, 0)


def test_validation_scores_held_out_samples_and_disturbs_nothing(shards: Path, tmp_path: Path) -> None:
    for name, every in (("with", 2), ("without", 0)):
        train(tiny_config(shards, tmp_path / name, train={"steps": 3, "validate_every": every}), StopRequest())
    lines = [json.loads(line) for line in (tmp_path / "with" / "metrics.jsonl").read_text().splitlines()]
    assert ["val/recall@1" in line for line in lines] == [False, True, True]
    assert 0 <= lines[1]["val/map"] <= 1
    assert {"lr", "lr_boosted", "eta_s", "images_per_s", "data_wait", "mfu", "train/gradient_norm", "train/temperature"} <= lines[0].keys()
    assert lines[0]["train/gradient_norm"] > 0
    assert 0 <= lines[0]["train/itm_accuracy"] <= 1
    weights = [load_file(checkpoint.resolve(tmp_path / name / "checkpoint") / checkpoint.MODEL_FILE) for name in ("with", "without")]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[1])


def test_shards_without_the_held_out_split_are_refused_before_a_model_is_built(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = make_shards(tmp_path / "shards", val=0)
    monkeypatch.setattr("pretrain.train.build_model", lambda *_: pytest.fail("too late"))
    for folder, split in ((without, "val"), (shards, "dev")):
        config = tiny_config(folder, tmp_path / "out", data={"eval_split": split}, train={"validate_every": 2})
        with pytest.raises(ConfigError, match=rf"no sample of split '{split}'.* set train\.validate_every=0"):
            train(config, StopRequest())
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    assert train(tiny_config(without, tmp_path / "out", train={"steps": 1}), StopRequest())["steps"] == 1


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def _scores(out: Path) -> list[dict[str, Any]]:
    """Of each logged step, what the validation said."""
    return [{name: value for name, value in line.items() if name.startswith(("step", "val/"))} for line in _lines(out)]


@pytest.mark.parametrize("last", [2, 4])
def test_a_training_that_is_asked_to_leave_makes_its_validation_up_when_it_continues(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: int
) -> None:
    """A scheduler kills two minutes after its signal, and a validation may take longer. Also after the last step."""
    config = tiny_config(shards, tmp_path / "parts", train={"steps": 4, "validate_every": 2})
    if last == 2:
        monkeypatch.setattr("pretrain.watch.rank_split", lambda *_: pytest.fail("too late"))
    with pytest.raises(Stopped, match=f"stopped at step {last} of 4"):
        train(config, StopAfter(last - 1))
    monkeypatch.undo()
    assert checkpoint.resolve(tmp_path / "parts" / "checkpoint").name == f"step-0000000{last}"
    assert [line["step"] for line in _lines(tmp_path / "parts")] == list(range(1, last + 1))
    train(config, StopRequest())
    train(tiny_config(shards, tmp_path / "whole", train={"steps": 4, "validate_every": 2}), StopRequest())
    assert _scores(tmp_path / "parts") == _scores(tmp_path / "whole")
    assert "val/map" in _scores(tmp_path / "whole")[-1]


def test_a_validation_that_fails_loses_no_step_and_is_made_up(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Any:
        raise StageError("a shard is gone")

    config = tiny_config(shards, tmp_path, train={"steps": 3, "validate_every": 2})
    monkeypatch.setattr("pretrain.watch.rank_split", fail)
    for _ in range(2):
        with pytest.raises(StageError, match="a shard is gone"):
            train(config, StopRequest())
        assert checkpoint.resolve(tmp_path / "checkpoint").name == "step-00000002"
    monkeypatch.undo()
    train(config, StopRequest())
    assert ["val/map" in line for line in _lines(tmp_path)] == [False, True, True]
    assert all(line["train/total"] > 0 for line in _lines(tmp_path))


def test_scores_without_a_number_are_null_and_the_files_are_json(tmp_path: Path) -> None:
    """One held-out sample shows no attribute in both states."""
    shards = make_shards(tmp_path / "shards", val=1)
    train(tiny_config(shards, tmp_path / "out", train={"steps": 1, "validate_every": 1}), StopRequest())
    text = (tmp_path / "out" / "metrics.jsonl").read_text()
    (line,) = [json.loads(row, parse_constant=lambda name: pytest.fail(name)) for row in text.splitlines()]
    assert line["val/attributes"] is None


def test_event_files_hold_what_metrics_jsonl_holds_also_after_a_continuation(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = tiny_config(shards, tmp_path, train={"steps": 3, "validate_every": 2, "tensorboard": True, "save_every": 2})
    with pytest.raises(Stopped):
        train(config, StopAfter(1))
    train(config, StopRequest())
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert set(events.Tags()["scalars"]) == {name for line in lines for name in line if line[name] is not None} - {"step", "num_steps"}
    for name in ("train/itc", "lr", "val/map"):
        expected = [(line["step"], pytest.approx(line[name], rel=1e-6)) for line in lines if name in line]
        assert [(event.step, event.value) for event in events.Scalars(name)] == expected


def test_without_the_package_a_training_with_event_files_is_refused(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrain.tensorboard_log.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="install the extra `tensorboard`"):
        train(tiny_config(shards, tmp_path, train={"tensorboard": True}), StopRequest())


@pytest.fixture
def jump(monkeypatch: pytest.MonkeyPatch) -> None:
    """At step 4 the total is a hundred times what it is, and the guard looks back three steps."""
    agree = loop.agree

    def jumping(terms: Any, total: Any, step: int, *rest: Any) -> Any:
        values, leaving = agree(terms, total, step, *rest)
        return {**values, "total": values["total"] * (100 if step == 4 else 1)}, leaving

    monkeypatch.setattr("pretrain.watch.WINDOW", 3)
    monkeypatch.setattr(loop, "agree", jumping)


@pytest.mark.usefixtures("jump")
def test_a_jump_stops_a_training_before_the_step_is_taken(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"jumped to .* at step 5"):
        train(tiny_config(shards, tmp_path, train={"steps": 8, "save_every": 1, "spike_factor": 3.0}), StopRequest())
    assert checkpoint.resolve(tmp_path / "checkpoint").name == "step-00000004"


@pytest.mark.usefixtures("jump")
def test_a_continued_training_knows_the_losses_before_it_also_those_that_were_not_logged(shards: Path, tmp_path: Path) -> None:
    config = tiny_config(shards, tmp_path, train={"steps": 8, "log_every": 8, "spike_factor": 3.0})
    with pytest.raises(Stopped):
        train(config, StopAfter(3))
    with pytest.raises(StageError, match=r"jumped to .* at step 5"):
        train(config, StopRequest())


def _broken_on_rank_1(rank: int, shards: Path, out: Path) -> tuple[str, list[str]]:
    """What stops this rank, and the keys of its batches."""
    loss, calls, keys = objective.iac_loss, [], []
    agree = loop.agree

    def broken(*arguments: Any) -> torch.Tensor:
        calls.append(1)
        return loss(*arguments) * (float("nan") if rank == 1 and len(calls) == 2 else 1.0)

    def recorded(*arguments: Any) -> Any:
        keys.append(list(arguments[4]))
        return agree(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "iac_loss", broken)
        patch.setattr(loop, "agree", recorded)
        with pytest.raises(StageError) as caught:
            train(tiny_config(shards, out, train={"steps": 4, "save_every": 1, "validate_every": 1}), StopRequest())
    return str(caught.value), keys[-1]


def test_a_loss_that_is_not_finite_on_one_rank_stops_all_ranks_and_names_the_samples_of_that_rank(shards: Path, tmp_path: Path) -> None:
    (first, _), (second, keys) = run_ranks(_broken_on_rank_1, 2, tmp_path, shards, tmp_path / "out")
    assert first == second
    assert first.startswith("not finite at step 2: iac, ")
    assert f"nothing was updated (rank 1: {', '.join(keys)})" in first
    newest = checkpoint.resolve(tmp_path / "out" / "checkpoint")
    assert newest.name == "step-00000001"
    assert f"); lower optim.lr or set optim.clip_norm in another `out`, with init.checkpoint={newest}: moments, " in first
    gentler = {"optim": {"lr": 1e-5, "clip_norm": 1.0}, "init": {"checkpoint": str(newest)}, "train": {"steps": 1}}
    assert train(tiny_config(shards, tmp_path / "again", **gentler), StopRequest())["steps"] == 1
    (line,) = [json.loads(line) for line in (tmp_path / "out" / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= line["val/map"] <= 1  # both ranks took part in the validation after step 1
