"""The training loop through its real entry point, on tiny shards."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.signals import Stopped, StopRequest
from pretrain import checkpoint
from pretrain.train import TERMS, train
from tests.unit.pretrain.samples import make_shards, tiny_config


class StopAfter(StopRequest):
    """Asks to leave once `steps` steps are done; the loop looks once per step."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    @property
    def received(self) -> int | None:
        self._left -= 1
        return 10 if self._left < 0 else None

    @received.setter
    def received(self, value: int | None) -> None:
        pass


def _weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.resolve(out / "checkpoint") / "model.safetensors")


def test_a_training_writes_config_metrics_checkpoint_and_summary(shards: Path, tmp_path: Path) -> None:
    every_prompt = {"num_matching_prompts": len(PERSON_27.prompts)}  # some of them are stated in every step
    summary = train(tiny_config(shards, tmp_path, objective=every_prompt), StopRequest())
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line[f"train/{name}"] >= 0 for line in lines for name in TERMS)
    assert set(summary["losses"]) == {*TERMS, "total"}
    assert summary == json.loads((tmp_path / "summary.json").read_text())
    assert (tmp_path / "config.yaml").is_file()
    loaded = checkpoint.load_model(tmp_path / "checkpoint")
    assert loaded.report.clean
    assert loaded.metadata["position"] == 16


def test_a_continued_training_equals_an_uninterrupted_one_to_the_bit(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path / "whole"), StopRequest())
    for stop_after in (1, 2):
        with pytest.raises(Stopped, match="run again"):
            train(tiny_config(shards, tmp_path / "parts"), StopAfter(stop_after - 1))
    train(tiny_config(shards, tmp_path / "parts"), StopRequest())
    whole, parts = _weights(tmp_path / "whole"), _weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    losses = [
        [(line["step"], line["train/total"]) for line in map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())]
        for name in ("whole", "parts")
    ]
    assert losses[0] == losses[1]


def test_a_finished_training_is_left_as_it_is(shards: Path, tmp_path: Path) -> None:
    first = train(tiny_config(shards, tmp_path), StopRequest())
    before = (tmp_path / "metrics.jsonl").stat().st_mtime_ns
    assert train(tiny_config(shards, tmp_path), StopRequest()) == first
    assert (tmp_path / "metrics.jsonl").stat().st_mtime_ns == before


def test_another_config_in_the_same_folder_is_refused(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path, train={"steps": 1}), StopRequest())
    with pytest.raises(ContractError, match=r"another config or other data \(optim\.lr 0\.\d+ -> 0\.0005\); put back"):
        train(tiny_config(shards, tmp_path, train={"steps": 1}, optim={"lr": 5e-4}), StopRequest())


def test_a_non_finite_loss_names_step_and_term_and_updates_nothing(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrain.objective.iac_loss", lambda *args: args[0].sum() * float("nan"))
    with pytest.raises(StageError, match=r"step 1: iac, gradient_norm, total; nothing was updated \(rank 0: \d{9}_00, "):
        train(tiny_config(shards, tmp_path), StopRequest())
    assert checkpoint.latest(tmp_path / "checkpoint") is None


def test_only_the_newest_checkpoints_stay_and_latest_names_the_last(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path, train={"save_every": 1, "keep": 2}), StopRequest())
    root = tmp_path / "checkpoint"
    assert sorted(p.name for p in root.iterdir()) == ["latest", "step-00000003", "step-00000004"]
    assert checkpoint.latest(root) == root / "step-00000004"


@pytest.mark.parametrize("lost", ["checkpoint", "pointer", "metadata"])
def test_a_training_goes_on_from_the_newest_whole_checkpoint_where_the_pointer_leads_nowhere(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    """As after following the advice to delete a damaged checkpoint, or after copying the folders alone."""
    config = tiny_config(shards, tmp_path, train={"save_every": 1, "keep": 3})
    with pytest.raises(Stopped):
        train(config, StopAfter(2))
    root = tmp_path / "checkpoint"
    if lost == "pointer":
        (root / "latest").unlink()
    elif lost == "checkpoint":
        shutil.rmtree(root / "step-00000003")
    else:
        (root / "step-00000003" / "metadata.json").unlink()
    newest = 3 if lost == "pointer" else 2
    with caplog.at_level("INFO", "pretrain"):
        train(config, StopRequest())
    assert f"the newest whole one is used, {root / f'step-{newest:08d}'}" in caplog.text
    assert f"from step {newest}" in caplog.text
    assert [json.loads(line)["step"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()] == [1, 2, 3, 4]


@pytest.mark.parametrize("file", ["model.safetensors", "training_state/optimizer.safetensors", "vocab.txt", "metadata.json"])
def test_a_damaged_checkpoint_is_named_with_what_follows_once_it_is_deleted(shards: Path, tmp_path: Path, file: str) -> None:
    config, root = tiny_config(shards, tmp_path, train={"save_every": 1, "keep": 2}), tmp_path / "checkpoint"
    with pytest.raises(Stopped):
        train(config, StopAfter(1))
    for step, follows in ((2, "its training goes on from step-00000001"), (1, "there is no other beside it, and its training begins anew")):
        folder = root / f"step-{step:08d}"
        (folder / file).write_bytes(bytes(9))
        with pytest.raises(ContractError, match=rf"^{folder / file}.*; delete the folder {folder}; {follows}"):
            train(config, StopRequest())
        shutil.rmtree(folder)
    assert train(config, StopRequest())["steps"] == 4


def test_of_a_copied_checkpoint_that_is_damaged_no_training_is_said_to_begin_anew(tmp_path: Path) -> None:
    for name in ("step-00000004", "best-00000004"):
        with pytest.raises(ContractError, match=rf"delete the folder {tmp_path / 'given' / name} and use another one$"):
            checkpoint.read_weights(tmp_path / "given" / name)


def test_a_checkpoint_that_cannot_be_opened_is_not_said_to_be_missing_or_damaged(tmp_path: Path) -> None:
    """As without the right to read it, or on a lost network disk: deleting it would be a pity."""
    path = tmp_path / "step-00000004" / "model.safetensors"
    path.parent.mkdir()
    path.symlink_to(path)
    with pytest.raises(StageError, match=rf"^{path} cannot be read: Too many levels of symbolic links$"):
        checkpoint.read_tensors(path)


def test_a_checkpoint_without_metadata_does_not_count(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path, train={"steps": 1}), StopRequest())
    (checkpoint.resolve(tmp_path / "checkpoint") / "metadata.json").unlink()
    assert checkpoint.latest(tmp_path / "checkpoint") is None
    with pytest.raises(ConfigError, match="no checkpoint"):
        checkpoint.load_model(tmp_path / "checkpoint")


def test_training_starts_from_the_weights_of_another_checkpoint(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path / "first", train={"steps": 2}), StopRequest())
    init = {"checkpoint": str(tmp_path / "first" / "checkpoint")}
    # One step at the start of a warm-up has a learning rate of 0, so the weights must come out as they went in.
    train(tiny_config(shards, tmp_path / "second", train={"steps": 1}, optim={"warmup": 5}, init=init), StopRequest())
    first, second = _weights(tmp_path / "first"), _weights(tmp_path / "second")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_losses_fall_on_a_set_that_can_be_learned_by_heart(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", train=8, val=1)
    no_noise = {"flip": 0.0, "operations": 0, "erasing": 0.0}
    config = tiny_config(shards, tmp_path / "out", image=no_noise, train={"steps": 40, "global_batch": 8}, optim={"lr": 3e-3})
    losses = train(config, StopRequest())["losses"]
    assert losses["total"]["last"] < 0.8 * losses["total"]["first"]
    assert losses["mlm"]["last"] < 0.8 * losses["mlm"]["first"]


def test_a_finished_training_without_its_log_is_summed_up_without_losses(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path, train={"steps": 1}), StopRequest())
    for name in ("metrics.jsonl", "summary.json"):
        (tmp_path / name).unlink()
    assert train(tiny_config(shards, tmp_path, train={"steps": 1}), StopRequest())["losses"]["total"] == {"first": None, "last": None}


def test_a_line_of_the_log_that_cannot_be_read_is_named(shards: Path, tmp_path: Path) -> None:
    train(tiny_config(shards, tmp_path, train={"steps": 2}), StopRequest())
    (tmp_path / "summary.json").unlink()
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": \n')
    with pytest.raises(ContractError, match=r"metrics\.jsonl, line 2 is no JSON .*delete that line"):
        train(tiny_config(shards, tmp_path, train={"steps": 2}), StopRequest())


@pytest.mark.parametrize(("batch", "message"), [(13, "exceeds the 12 training samples")])
def test_a_batch_that_does_not_fit_is_refused(shards: Path, tmp_path: Path, batch: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tiny_config(shards, tmp_path, train={"global_batch": batch}), StopRequest())


def test_what_does_not_fit_the_model_or_the_ranks_is_refused_before_the_first_step(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(f"attributes: [{{name: a, prompts: [{'very ' * 70}short, tall]}}]")
    with pytest.raises(ConfigError, match=r"a prompt has \d+ tokens, more than model\.text\.max_positions=64"):
        train(tiny_config(shards, tmp_path / "out", data={"attributes": str(tmp_path / "own.yaml")}), StopRequest())
    with pytest.raises(ConfigError, match=r"itc_group_size=2 does not divide the 1 ranks"):
        train(tiny_config(shards, tmp_path / "out", objective={"itc_group_size": 2}), StopRequest())
    assert not (tmp_path / "out").exists()


def test_a_warm_up_that_outlasts_the_training_is_told(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(tiny_config(shards, tmp_path, train={"steps": 1}, optim={"warmup": 5}), StopRequest())
    assert "optim.warmup=5 outlasts the 1 steps" in caplog.text


def test_a_folder_without_shards_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"index\.parquet"):
        train(tiny_config(tmp_path / "nothing", tmp_path / "out"), StopRequest())
