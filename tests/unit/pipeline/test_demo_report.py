"""The page: everything inside, nothing loaded, texts escaped, honest words."""

import re

import pytest

from pipeline.demo.collect import collect
from pipeline.demo.report import render
from pipeline.demo.wording import verdict
from pipeline.figures import compare_seeds, loss_curve, running_mean
from tests.unit.pipeline.demo_run import STEPS, make_demo


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(collect(make_demo(tmp_path_factory.mktemp("demo")), STEPS))


def test_the_page_loads_nothing(page):
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    assert "<link" not in page
    assert all(source.startswith("data:image/jpeg;base64,") for source in re.findall(r'src="([^"]*)"', page))


def test_texts_from_files_are_escaped(page):
    assert "&lt;b&gt;blue&lt;/b&gt;" in page
    assert "<b>blue" not in page
    assert "query &lt;0&gt;" in page


def test_every_reason_and_every_attribute_is_on_the_page(page):
    for word in ("no_person", "several_persons", "no_clothing", "duplicate", "worker_died", "lower_brown", "sleeve_length"):
        assert word in page


def test_all_objectives_have_a_curve(page):
    assert [name for name in ("ITC", "ITM", "MLM", "IAC", "IAM", "MAM") if f'aria-label="{name} loss' not in page] == []


def test_right_pictures_are_marked_by_a_sign_and_not_by_colour_alone(page):
    assert page.count("✓ right") == 10
    assert page.count("✗ wrong") == 15


def groups(pretrained: float, scratch: float, std: float) -> dict:
    both = {"pretrained": {"mean": pretrained, "std": std}, "scratch": {"mean": scratch, "std": std / 2}}
    return {**both, "difference": pretrained - scratch}


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ((0.6, 0.4, 0.02), ("raises", "+20.0 points", "larger than the spread")),
        ((0.3, 0.4, 0.02), ("lowers", "-10.0 points", "larger than the spread")),
        ((0.41, 0.4, 0.02), ("raises", "within the spread")),
        ((0.4, 0.4, 0.0), ("does not move", "within the spread")),
    ],
)
def test_the_verdict_says_what_was_measured(values, words):
    text = verdict(groups(*values))
    assert [word for word in words if word not in text] == []


def test_figures_take_the_colour_of_the_page_and_the_same_bytes_each_time():
    svg = loss_curve("itc", [1, 2, 3], [3.0, 2.0, 1.0])
    assert "currentColor" in svg
    assert "#010203" not in svg
    assert svg == loss_curve("itc", [1, 2, 3], [3.0, 2.0, 1.0])
    assert "Recall@1 in percent of each seed. a: 50.0, 60.0; b: 10.0, 20.0" in compare_seeds({"a": [0.5, 0.6], "b": [0.1, 0.2]}, "Recall@1")


def test_the_running_mean_keeps_a_constant_and_the_length():
    assert running_mean([2.0] * 7, 3) == [2.0] * 7
    assert running_mean([0.0, 3.0, 0.0], 1) == pytest.approx([1.5, 1.0, 1.5])
