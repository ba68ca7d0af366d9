"""Every file in configs/finetune loads and runs two steps at tiny size, through the one training loop."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from finetune.recipes import IrraRecipe, load_recipe, recipe_of
from finetune.train import train
from pipeline.config import apply_overrides, build
from pipeline.contracts.errors import ConfigError
from pipeline.signals import StopRequest
from tests.unit.finetune.conftest import MODEL
from tests.unit.finetune.tiny_models import BLIP, CLIP

ROOT = Path(__file__).parents[3]
RECIPES = sorted((ROOT / "configs" / "finetune").glob("*.yaml"))


def tiny(path: Path, people: Path, miniature: Path, out: Path) -> dict:
    """The recipe with what is large made small: folder, model, batch, steps."""
    tree = yaml.safe_load(path.read_text())
    tree["out"], tree["engine"] = str(out), {"kind": "torch", "device": "cpu"}
    challenge = tree["data"].get("name", "challenge") == "challenge"
    tree["data"] |= {"folder": str(miniature if challenge else people), "workers": 0} | ({} if challenge else {"val_share": 0.4})
    tree["init"] = {}
    tree["train"] = {"steps": 2, "global_batch": 4, "save_every": 1}
    tree["eval"] = tree.get("eval", {}) | {"times": 1, "shortlist": 4}
    method = tree.get("method", "aptm")
    tree["model"] = {"aptm": MODEL, "irra": {"clip": CLIP, "cross_layers": 1}, "clip": {"clip": CLIP}, "blip": {"config": BLIP}}[method]
    return tree


def test_there_is_a_recipe_for_every_data_set_and_method():
    recipes = [load_recipe(path) for path in RECIPES]
    assert {r.method for r in recipes} == {"aptm", "irra", "clip", "blip"}
    assert {r.data.name for r in recipes} == {"challenge", "cuhk-pedes", "icfg-pedes", "rstpreid", "pa-100k"}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_the_recipe_runs_two_steps(path, people, miniature, tmp_path):
    tree = tiny(path, people, miniature, tmp_path / "out")
    config = build(type(load_recipe(path)), tree, str(path))
    summary = train(config, StopRequest())
    assert summary["steps"] == 2
    assert summary["protocol"] == "selected on validation"
    ends = [value for loss in summary["losses"].values() for value in loss.values() if value is not None]  # steps of vehicles have no IAC
    assert np.isfinite(ends).all()
    assert 0 <= summary["test"]["all"][config.eval.select] <= 1


def test_the_paper_protocol_selects_on_test_and_says_so(people, miniature, tmp_path):
    tree = tiny(ROOT / "configs" / "finetune" / "irra.yaml", people, miniature, tmp_path / "out")
    tree["eval"] |= {"paper_protocol": True}
    summary = train(build(IrraRecipe, tree, "test"), StopRequest())
    assert summary["protocol"] == "paper protocol: selected on test"
    assert summary["val"] == summary["test"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "clips"}, "method='clips'; accepted: aptm, irra, clip, blip"),
        ({"objective": {"irm": 1}, "method": "irra"}, "need attributes; data set cuhk-pedes has none"),
        ({"objective": {"sdn": 1}, "method": "irra"}, "sdn"),
        ({"mining": {"share": 0.5}, "method": "irra"}, "mining.share needs attributes"),
        ({"optim": {"warmup": 0.2}}, r"unknown key optim.warmup; did you mean optim.warmup_steps\?"),
        ({"eval": {"select": "mean_accuracy"}}, "select=mean_accuracy; accepted for data.name=cuhk-pedes: map, recall@1"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(change, message, people, miniature, tmp_path):
    tree = tiny(ROOT / "configs" / "finetune" / "irra.yaml", people, miniature, tmp_path / "out") | change
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match=message):
        train(load_recipe(path), StopRequest())


@pytest.mark.parametrize(
    ("method", "change", "message"),
    [
        ("aptm", {"eval": {"expand": 25}}, r"eval\.expand=25 is for models without a matching head .* method: aptm accepts 0"),
        ("blip", {"eval": {"expand": 25}}, "method: blip accepts 0"),
        ("blip", {"objective": {"colour_patch": True}}, r"set data\.kinds=\[vehicle\], or colour_patch=false"),
    ],
)
def test_what_would_do_nothing_or_something_else_in_training_than_in_search_is_refused(method, change, message):
    tree = {"method": method, "out": "x", "data": {"folder": "x"}, **({"init": {"checkpoint": "x"}} if method == "aptm" else {})}
    with pytest.raises(ConfigError, match=message):
        recipe_of(tree | change, "test")
    assert recipe_of(tree, "test").method == method


@pytest.mark.parametrize(
    ("method", "change"),
    [("clip", "model.cross_layers=2"), ("clip", "optim.warmup_epochs=1"), ("blip", "optim.cross_factor=2"), ("irra", "optim.boost=2")],
)
def test_what_a_method_does_not_read_is_unknown_to_it(method, change):
    section, field = change.partition("=")[0].split(".")
    with pytest.raises(ConfigError, match=rf"unknown key {section}\.{field}"):
        recipe_of(apply_overrides({"method": method, "out": "x", "data": {"folder": "x"}}, [change]), "test")
