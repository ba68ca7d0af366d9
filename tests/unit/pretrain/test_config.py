"""Recipes are valid; mistakes name field, value and way out."""

from pathlib import Path

import pytest

from pipeline.config import build, load, to_dict
from pipeline.contracts.errors import ConfigError
from pretrain.config import PretrainConfig
from tests.unit.pretrain.samples import tiny_config

RECIPES = sorted((Path(__file__).parents[3] / "configs" / "pretrain").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_is_valid(recipe: Path) -> None:
    assert load(PretrainConfig, recipe).train.global_batch > 0


def test_the_published_recipe_has_the_published_numbers() -> None:
    config = load(PretrainConfig, next(path for path in RECIPES if path.stem == "mals_paper"))
    assert config.train.global_batch == 600
    assert config.train.num_steps(1_510_330) == 80_551  # 32 epochs without dropping the ends of epochs
    assert (config.optim.lr, config.optim.warmup, config.objective.label_smoothing) == (1e-4, 2600, 0.4)
    assert (config.text.masking.mlm_candidates, config.text.pad, config.text.max_tokens) == ("padded", "max", 56)
    assert (config.objective.itc_gradient, config.objective.mean_over, config.eval.published_processes) == ("published", "rank", 4)
    assert config.image.published_autocontrast
    assert config.model.vision.depths == (2, 2, 18, 2)


def test_a_field_that_a_recipe_names_wins_over_objective_paper_and_the_resolved_tree_is_a_recipe_again(tmp_path: Path) -> None:
    tree = {"out": "o", "data": {"shards": "s"}, "objective": "paper", "eval": {"published_processes": 2}, "text": {"max_words": 40}}
    config = build(PretrainConfig, tree, "test")
    assert (config.eval.published_processes, config.eval.shortlist, config.text.max_words, config.text.pad) == (2, 128, 40, "max")
    assert build(PretrainConfig, to_dict(config), "test") == config


def test_an_item_of_the_command_line_wins_over_objective_paper(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("{out: o, data: {shards: s}, objective: paper}")
    config = load(PretrainConfig, tmp_path / "recipe.yaml", ["objective.itc_chunk=16", "objective.mean_over=batch"])
    assert (config.objective.itc_chunk, config.objective.mean_over, config.objective.itc_gradient) == (16, "batch", "published")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optim": {"learning_rate": 1}}, r"unknown key optim\.learning_rate"),
        ({"optim": {"lr": 0}}, r"optim\.lr=0"),
        ({"engine": {"zero_stage": 3}}, "accepted: 0, 1, 2"),
        ({"engine": {"zero_stage": 2}}, r"zero_stage=2 is DeepSpeed's; set engine\.kind=deepspeed"),
        ({"data": {"shards": [{"shards": "sets/a"}, {"shards": "sets/./a"}]}}, "each once"),
        ({"engine": {"kind": "horovod"}}, r"engine\.kind"),
        ({"train": {"global_batch": 0}}, r"train\.global_batch=0"),
        ({"text": {"max_tokens": 65}}, "exceeds model.text.max_positions=64"),
        ({"text": {"masking": {"mlm_candidates": "padded"}}}, r"set text\.pad=max"),
        ({"init": {"checkpoint": "a", "bert": "b"}}, "whole model"),
        ({"image": {"flip": 2.0}}, "flip=2.0"),
    ],
)
def test_a_mistake_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_config(tmp_path, tmp_path, **changes)


def test_where_things_lie_and_how_often_they_are_saved_is_no_part_of_a_trainings_identity(tmp_path: Path) -> None:
    one = tiny_config(tmp_path / "a", tmp_path / "b")
    same = tiny_config(tmp_path / "c", tmp_path / "d", train={"save_every": 7, "log_every": 2}, data={"workers": 3})
    other = tiny_config(tmp_path / "a", tmp_path / "b", data={"caption": "any"})
    assert one.training_tree() == same.training_tree() != other.training_tree()


def test_epochs_become_whole_steps(tmp_path: Path) -> None:
    train = tiny_config(tmp_path, tmp_path, train={"steps": None, "epochs": 1.5, "global_batch": 8}).train
    assert [train.num_steps(n) for n in (8, 10, 16)] == [2, 2, 3]
