"""Golden numbers of the research code: every tensor, loss, gradient and metric agrees. Numbers come from the folder of reference data."""

import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from finetune.parity.report import run
from pipeline.fileio import read_json, write_json
from pretrain.parity.fixture import Check
from pretrain.parity.report import run_parity
from tests.golden.comparisons import assert_agrees, golden_folder

GROUPS = {"checkpoint": 4, "full size": 5, "outputs": 20, "losses": 21, "grads": 7, "text": 13, "eval": 40, "misc": 19}
"""Least number of comparisons."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return golden_folder(shared, "parity")


@pytest.fixture(scope="module")
def checks(folder: Path) -> list[Check]:
    return run(folder)


@pytest.mark.parametrize("group", GROUPS)
def test_agrees_with_the_research_code(checks: list[Check], group: str) -> None:
    assert_agrees(checks, group, GROUPS[group])


def test_number_of_ranks_and_unstated_attribute_are_read_from_the_names(folder: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "inputs.safetensors"):
        shutil.copy(folder / name, tmp_path)
    scores, facts, losses = load_file(folder / "eval.safetensors"), read_json(folder / "eval.json"), read_json(folder / "losses.json")
    scores["eval_score_t2i_world3"] = scores.pop("eval_score_t2i_world4")
    facts["metrics_score_world3"] = facts.pop("metrics_score_world4")
    losses["label_for_iac_nosmooth_attr6"] = losses.pop("label_for_iac_nosmooth_attr5")
    save_file(scores, tmp_path / "eval.safetensors")
    write_json(tmp_path / "eval.json", facts)
    write_json(tmp_path / "losses.json", losses)
    failed = {check.name for check in run_parity(tmp_path) if not check.passed}
    assert "eval/eval_score_t2i_world3" in failed  # four ranks sum to other numbers
    assert "losses/iac_nosmooth" in failed
    assert not [name for name in failed if "world4" in name or "attr" in name]
