"""Fine-tuning end to end on a model of a few thousand weights: what it writes, resumes, selects and refuses."""

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune import train as train_module
from finetune.best import best_folder, best_metadata, find_checkpoint
from finetune.config import FinetuneConfig
from finetune.datasets.challenge import gold_path
from finetune.evaluate import evaluate
from finetune.initialize import start_model
from finetune.matrix import cross_domain
from finetune.recipes import load_recipe
from finetune.seeds import spread, train_seeds
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.signals import Stopped, StopRequest
from pretrain.checkpoint import load_model, save_model

SCORES = {"recall@1", "recall@5", "recall@10", "map", "minp", "map@10", "official"}


def lines_of(config: FinetuneConfig) -> list[dict]:
    return [json.loads(line) for line in (Path(config.out) / "metrics.jsonl").read_text().splitlines()]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_model(find_checkpoint(folder)).model.state_dict()


def assert_equal_weights(first: Path, second: Path) -> None:
    one, other = weights_of(first), weights_of(second)
    assert all(torch.equal(one[name], other[name]) for name in one)


class StopAfter(StopRequest):
    """Asks to leave once the given number of steps has begun."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self._left = steps

    @property
    def received(self) -> int | None:
        self._left -= 1
        return signal.SIGUSR1 if self._left < 0 else None

    @received.setter
    def received(self, value: int | None) -> None:
        pass


def test_a_training_writes_losses_validations_and_test_scores_of_the_best_checkpoint(tiny_config):
    summary = train(tiny_config, StopRequest())
    assert set(summary["losses"]) == {"itc", "itc_second", "itm", "itm_second", "mlm", "total"}
    for split in ("val", "test"):
        assert list(summary[split]) == ["all", "pedestrian", "vehicle"]
        assert all(set(scores) == SCORES for scores in summary[split].values())
    rows = lines_of(tiny_config)
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert [("val/map" in row) for row in rows] == [False, True, False, True]
    maps = {row["step"]: row["val/map"] for row in rows if "val/map" in row}
    assert summary["best_step"] == (2 if maps[2] >= maps[4] else 4)
    assert summary["val"]["all"]["map"] == max(maps.values())
    assert json.loads((Path(tiny_config.out) / "summary.json").read_text()) == summary


def test_the_chosen_checkpoint_gives_the_scores_of_the_summary(tiny_config):
    summary = train(tiny_config, StopRequest())
    for split in ("val", "test"):
        again = evaluate(tiny_config, Path(tiny_config.out), split)
        assert again["all"] == pytest.approx(summary[split]["all"], abs=1e-9)


def test_a_stopped_training_continues_as_if_it_had_not_been_stopped(tiny_tree, tmp_path):
    whole = build(FinetuneConfig, tiny_tree | {"out": str(tmp_path / "whole")}, "test")
    parts = build(FinetuneConfig, tiny_tree | {"out": str(tmp_path / "parts")}, "test")
    expected = train(whole, StopRequest())
    with pytest.raises(Stopped, match="stopped at step 1 of 4"):
        train(parts, StopAfter(0))
    with pytest.raises(Stopped, match="stopped at step 3 of 4"):
        train(parts, StopAfter(1))
    summary = train(parts, StopRequest())
    assert summary["losses"] == expected["losses"]
    assert summary["test"] == expected["test"]
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")


def test_a_training_goes_on_whose_heads_no_term_reaches(tiny_tree):
    config = build(FinetuneConfig, tiny_tree | {"objective": {"itm_weight": 0, "mlm_weight": 0}}, "test")
    with pytest.raises(Stopped):
        train(config, StopAfter(1))
    assert train(config, StopRequest())["steps"] == 4


def test_a_finished_training_is_left_as_it_is(tiny_config, monkeypatch):
    summary = train(tiny_config, StopRequest())
    monkeypatch.setattr(train_module, "build_engine", None)
    assert train(tiny_config, StopRequest()) == summary


def test_another_config_in_the_same_folder_is_refused(tiny_tree):
    train(build(FinetuneConfig, tiny_tree, "test"), StopRequest())
    with pytest.raises(ContractError, match="another config"):
        train(build(FinetuneConfig, tiny_tree | {"seed": 7}, "test"), StopRequest())


def test_a_checkpoint_starts_the_training_with_its_weights_and_its_architecture(tiny_tree, tmp_path):
    first = start_model(build(FinetuneConfig, tiny_tree, "test"))
    save_model(tmp_path / "given", first.model, first.tokenizer, {})
    tree = {key: value for key, value in tiny_tree.items() if key != "model"} | {"init": {"checkpoint": str(tmp_path / "given")}, "seed": 9}
    start = start_model(build(FinetuneConfig, tree, "test"))
    assert all(torch.equal(a, b) for a, b in zip(start.model.state_dict().values(), first.model.state_dict().values(), strict=True))
    assert start.weights != "random"
    assert train(build(FinetuneConfig, tree, "test"), StopRequest())["init"] == "checkpoint"


def test_an_architecture_that_contradicts_the_checkpoint_is_refused(tiny_tree, tmp_path):
    first = start_model(build(FinetuneConfig, tiny_tree, "test"))
    save_model(tmp_path / "given", first.model, first.tokenizer, {})
    tree = tiny_tree | {"init": {"checkpoint": str(tmp_path / "given")}, "model": tiny_tree["model"] | {"embed_dim": 16}}
    with pytest.raises(ConfigError, match="leave `model` out"):
        start_model(build(FinetuneConfig, tree, "test"))


def test_random_weights_follow_from_the_seed(tiny_tree):
    one, same, other = (start_model(build(FinetuneConfig, tiny_tree | {"seed": s}, "test")).model.state_dict() for s in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_neither_checkpoint_nor_architecture_is_refused(tiny_tree):
    with pytest.raises(ConfigError, match=r"init\.checkpoint"):
        build(FinetuneConfig, {key: value for key, value in tiny_tree.items() if key != "model"}, "test")


def test_a_missing_picture_is_named_before_training(tiny_tree, miniature, tmp_path):
    shutil.copytree(miniature, tmp_path / "copy")
    victim = next((tmp_path / "copy" / "train" / "train_images").iterdir())
    victim.unlink()
    with pytest.raises(ContractError, match=f"lacks 1 of the 27 pictures .* the first is {victim.name}"):
        train(build(FinetuneConfig, tiny_tree | {"data": {"folder": str(tmp_path / "copy")}}, "test"), StopRequest())


@pytest.mark.parametrize(
    ("weights", "terms"),
    [
        ({"attribute_weight": 0.8, "second_view": 0}, {"itc", "itm", "mlm", "iac", "iam", "mam", "total"}),
        ({"itm_weight": 0, "mlm_weight": 0}, {"itc", "itc_second", "total"}),
    ],
)
def test_terms_are_computed_where_they_have_weight(tiny_tree, weights, terms):
    config = build(FinetuneConfig, tiny_tree | {"objective": weights}, "test")
    assert set(train(config, StopRequest())["losses"]) == terms


def test_steps_of_a_kind_without_attributes_have_no_losses_of_them(tiny_tree):
    objective = {"attribute_weight": 0.8}
    config = build(FinetuneConfig, tiny_tree | {"objective": objective}, "test")
    summary, rows = train(config, StopRequest()), lines_of(config)
    for name in ("iac", "iam", "mam"):
        found = [row[f"train/{name}"] for row in rows if f"train/{name}" in row]
        assert 0 < len(found) < len(rows), "batches are of one kind, and vehicles have no bits"
        assert min(found) > 0
        assert summary["losses"][name] == {"first": found[0], "last": found[-1]}


def test_several_seeds_give_mean_and_spread(tiny_tree):
    config = build(FinetuneConfig, tiny_tree | {"train": {"steps": 1, "global_batch": 8}, "eval": {"times": 1}}, "test")
    report = train_seeds(config, (0, 1), StopRequest())
    assert [best_metadata(Path(config.out) / f"seed-{seed}" / "checkpoint")["seed"] for seed in (0, 1)] == [0, 1]
    assert report["protocol"] == "selected on validation"
    values = report["test"]["all"]["map"]["values"]
    assert len(values) == 2
    assert report["test"]["all"]["map"]["mean"] == pytest.approx(np.mean(values))
    assert report["test"]["all"]["map"]["std"] == pytest.approx(np.std(values, ddof=1))
    assert report["data_set"] == "challenge"
    with pytest.raises(ConfigError, match="at least two"):
        train_seeds(config, (0,), StopRequest())
    for look in (lambda: evaluate(config, Path(config.out), "val"), lambda: cross_domain([config])):
        with pytest.raises(ConfigError, match=rf"several seeds; give one of them, {config.out}/seed-0, or its config\.yaml where a recipe"):
            look()
    assert cross_domain([load_recipe(Path(config.out) / "seed-0" / "config.yaml")])["rows"]["aptm:challenge"]["challenge"] is not None


def test_a_score_that_one_seed_leaves_undefined_is_reported_over_the_others():
    runs = [{"all": {"accuracy": 1.0}}, {"all": {"accuracy": 0.5, "precision": 0.5}}, {"all": {"accuracy": 0.0, "precision": 0.7}}]
    found = spread(runs)["all"]
    assert found["accuracy"] == {"mean": 0.5, "std": 0.5, "values": [1.0, 0.5, 0.0]}
    assert found["precision"] == {"mean": pytest.approx(0.6), "std": pytest.approx(0.2 / 2**0.5), "values": [None, 0.5, 0.7]}
    assert spread(runs[:2])["all"]["precision"] == {"mean": 0.5, "std": None, "values": [None, 0.5]}


def test_seeds_report_validation_where_the_answers_of_the_test_are_not_known(tiny_tree, miniature, tmp_path):
    shutil.copytree(miniature, tmp_path / "data")
    gold_path(tmp_path / "data").unlink()
    short = {"data": {"folder": str(tmp_path / "data")}, "train": {"steps": 1, "global_batch": 8}, "eval": {"times": 1}}
    config = build(FinetuneConfig, tiny_tree | short, "test")
    report = train_seeds(config, (0, 1), StopRequest())
    assert list(report) == ["seeds", "data_set", "protocol", "val"]
    assert len(report["val"]["all"]["map"]["values"]) == 2
    assert json.loads((Path(config.out) / "seeds.json").read_text()) == report


def test_the_best_checkpoint_is_found_from_the_training_folder_and_its_checkpoint_folder(tiny_config):
    train(tiny_config, StopRequest())
    out = Path(tiny_config.out)
    best = best_folder(out / "checkpoint")
    assert best is not None
    assert find_checkpoint(out) == find_checkpoint(out / "checkpoint") == best
    assert find_checkpoint(best) == best
