"""Optional measures by models of transformers: real classes with random weights."""

import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from generation.backends.plugins import load_plugin
from generation.config import FilterConfig, GenerationConfig, PluginConfig
from generation.digests import stage_digests
from generation.filter import FilterStage
from generation.filter_decision import Thresholds, decide
from generation.images import encode_png
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.stage import Drop, Fail, Item
from tests.unit.generation.test_redecide import WHOLE
from tests.unit.generation.tiny_models import save_classifier, save_clip, save_siglip

PICTURES = list(np.random.default_rng(0).integers(0, 255, (3, 64, 32, 3), np.uint8))
PROMPTS = ["a man in red", "a woman", "a man in red"]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> PluginConfig:
    return PluginConfig(name="clip_score", kind="image_text", model=str(save_clip(tmp_path_factory.mktemp("clip"))), device="cpu")


def test_the_score_of_a_pair_does_not_depend_on_its_batch(clip: PluginConfig) -> None:
    plugin = load_plugin(clip)
    together = plugin.measure(PICTURES, PROMPTS)
    alone = [plugin.measure([picture], [prompt])[0] for picture, prompt in zip(PICTURES, PROMPTS, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert all(value is not None and -1 <= value <= 1 for value in together)
    assert len(set(together)) == 3
    assert plugin.measure(PICTURES[:1], [PROMPTS[1]]) != plugin.measure(PICTURES[:1], [PROMPTS[0]])


def test_the_score_of_siglip_does_not_depend_on_longer_prompts_beside_it(tmp_path: Path) -> None:
    plugin = load_plugin(PluginConfig(name="s", kind="image_text", model=str(save_siglip(tmp_path)), device="cpu"))
    prompts = ["a man", "a man in a red shirt and a woman", "a man in a hat " * 10]
    together = plugin.measure(PICTURES, prompts)
    alone = [plugin.measure([picture], [prompt])[0] for picture, prompt in zip(PICTURES, prompts, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5)
    assert len(set(together)) == 3


def test_long_prompts_are_cut_and_pictures_without_one_are_not_measured(clip: PluginConfig) -> None:
    values = load_plugin(clip).measure(PICTURES, ["a man " * 100, None, ""])
    assert values[0] is not None
    assert values[1:] == [None, None]


def test_a_classifier_gives_a_probability_or_its_single_output(tmp_path: Path) -> None:
    two = str(save_classifier(tmp_path / "two", ("ugly", "fine")))
    fine, ugly = (
        load_plugin(PluginConfig(name="a", kind="classifier", model=two, label=label, device="cpu")).measure(PICTURES, PROMPTS)
        for label in (None, "ugly")
    )
    assert [a + b for a, b in zip(fine, ugly, strict=True) if a is not None and b is not None] == pytest.approx([1, 1, 1], abs=1e-5)
    one = PluginConfig(name="a", kind="classifier", model=str(save_classifier(tmp_path / "one", ("score",))), device="cpu")
    assert len(set(load_plugin(one).measure(PICTURES, PROMPTS))) == 3
    with pytest.raises(ConfigError, match="the model knows ugly, fine"):
        load_plugin(PluginConfig(name="a", kind="classifier", model=two, label="nice", device="cpu"))


def test_a_model_of_another_kind_is_refused(clip: PluginConfig, tmp_path: Path) -> None:
    other = save_classifier(tmp_path / "vit", ("a", "b"))
    with pytest.raises(ConfigError, match=r"filter\.plugins\.x"):
        load_plugin(PluginConfig(name="x", kind="image_text", model=str(other), device="cpu"))
    with pytest.raises(ConfigError, match=r"filter\.plugins\.x\.model"):
        load_plugin(PluginConfig(name="x", kind="classifier", model=str(tmp_path / "none"), device="cpu"))


def test_a_weight_file_that_was_copied_by_half_is_refused(clip: PluginConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(clip.model, tmp_path / "half")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ConfigError, match=r"filter\.plugins\.clip_score\.model=.* does not load as kind image_text"):
        load_plugin(replace(clip, model=str(folder)))


def test_a_folder_below_home_is_found(clip: PluginConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(clip.model)
    monkeypatch.setenv("HOME", str(folder.parent))
    assert load_plugin(replace(clip, model=f"~/{folder.name}")).name == "clip_score"


def test_the_device_of_a_plugin_is_no_part_of_the_digest(clip: PluginConfig) -> None:
    """As everywhere; what the model and its kind of numbers are is one."""

    def digest(**fields: str) -> str:
        return stage_digests(GenerationConfig(filter=FilterConfig(plugins=(replace(clip, **fields),))))["filter"]  # type: ignore[arg-type]

    assert digest() == digest(device="cuda:1") == digest(device="auto")
    assert digest() != digest(dtype="bfloat16")


def test_thresholds_on_measures_that_nobody_takes_are_refused(clip: PluginConfig) -> None:
    with pytest.raises(ConfigError, match=r"min_measures=\['aesthetic'\]; accepted: names of filter\.plugins \(clip_score\)"):
        FilterConfig(plugins=(clip,), thresholds=Thresholds(min_measures={"aesthetic": 5}))
    with pytest.raises(ConfigError, match="a name of its own"):
        FilterConfig(plugins=(clip, clip))


def test_a_low_measure_is_a_reason_and_a_missing_one_is_none() -> None:
    limits = Thresholds(min_measures={"clip_score": 0.2})
    assert decide({**WHOLE, "clip_score": 0.1}, limits) == "low_clip_score"
    assert decide({**WHOLE, "clip_score": 0.3}, limits) is None
    assert decide(WHOLE, limits) is None
    assert decide({**WHOLE, "clip_score": math.nan}, limits) == "low_clip_score"


class Nobody:
    """Stands for the pool of pose workers."""

    def begin(self, images: list[object]) -> Callable[[], list[list[object]]]:
        return lambda: [[] for _ in images]


def test_the_filter_stores_what_plugins_measure(clip: PluginConfig) -> None:
    stage = FilterStage(FilterConfig(plugins=(clip,)))
    stage._pool = Nobody()  # type: ignore[assignment]
    stage._plugins = [load_plugin(clip)]
    pairs = list(zip(PICTURES, PROMPTS, strict=True))
    items = [Item(str(i), {"prompt": prompt}, encode_png(picture)) for i, (picture, prompt) in enumerate(pairs)]
    outcomes = stage.process([items[0], Item("x", {}, b"junk"), *items[1:]])
    measured = [outcome.row["measures"]["clip_score"] for outcome in outcomes if isinstance(outcome, Drop)]
    assert measured == pytest.approx(stage._plugins[0].measure(PICTURES, PROMPTS), abs=1e-5)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_picture_whose_measure_is_no_number_fails_by_name(value: float) -> None:
    """It would pass every threshold and stand as NaN in the sample's JSON, which is none then."""

    class Broken:
        name = "clip_score"

        def measure(self, images: list[object], prompts: list[str | None]) -> list[float | None]:
            return [value, 0.5, None][: len(images)]

    stage = FilterStage(FilterConfig())
    stage._pool = Nobody()  # type: ignore[assignment]
    stage._plugins = [Broken()]  # type: ignore[list-item]
    first, *others = stage.process([Item(str(i), {"prompt": "a man"}, encode_png(picture)) for i, picture in enumerate(PICTURES)])
    assert isinstance(first, Fail)
    assert (first.reason, f"clip_score is {value}" in first.detail) == ("invalid_measure", True)
    assert ["clip_score" in outcome.row["measures"] for outcome in others if isinstance(outcome, Drop)] == [True, False]
