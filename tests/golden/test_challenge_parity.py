"""Golden numbers of the challenge's systems (IRRA, the winners, BLIP, the organisers' scorer): everything agrees, a change does not."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finetune.parity.report import run, run_challenge_parity
from pipeline.contracts.errors import ContractError
from pretrain.parity.fixture import Check
from tests.golden.comparisons import assert_agrees, golden_folder

LEAST = {
    "irra": 14,
    "winner": 10,
    "rank": 14,
    "official": 11,
    "blip": 8,
    "tokens": 4,
    "schedule": 2,
    "groups": 2,
    "tiny_irra": 7,
}
"""Least number of comparisons."""


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return golden_folder(shared, "parity_challenge")


@pytest.fixture(scope="module")
def checks(folder: Path) -> list[Check]:
    return run(folder)


@pytest.mark.parametrize("group", LEAST)
def test_agrees_with_the_published_code(checks: list[Check], group: str) -> None:
    assert_agrees(checks, group, LEAST[group])


@pytest.mark.parametrize(
    ("name", "key", "failing"),
    [
        ("irra_losses.npz", "sdm_f64", "irra/sdm_f64"),
        ("winner_ac_irm.npz", "irm_reference_f64", "winner/irm_reference_f64"),
        ("blip_itc_itm.npz", "loss_ita", "blip/fitc"),
        ("tokens.npz", "masked", "tokens/masked"),
    ],
)
def test_a_changed_golden_number_fails(folder: Path, tmp_path: Path, name: str, key: str, failing: str) -> None:
    arrays = dict(np.load(folder / name))
    arrays[key] = arrays[key] + 1 if arrays[key].dtype.kind == "i" else arrays[key] * 1.0001
    np.savez(tmp_path / name, **arrays)
    if name == "tokens.npz":
        shutil.copy(folder / "captions.json", tmp_path)
    assert [check.name for check in run_challenge_parity(tmp_path) if not check.passed] == [failing]


def test_the_grids_of_position_tables_are_read_from_their_names(tmp_path: Path) -> None:
    table = np.random.default_rng(0).normal(size=(1 + 3 * 5, 4)).astype(np.float32)
    np.savez(tmp_path / "schedule_pos.npz", pos_in_3x5=table, pos_out_3x5=table, pos_out_6x2=np.zeros((13, 4), np.float32))
    passed = {check.name: check.passed for check in run_challenge_parity(tmp_path)}
    assert passed == {"schedule/pos_in_3x5 to pos_out_3x5": True, "schedule/pos_in_3x5 to pos_out_6x2": False}


def test_a_folder_without_golden_numbers_or_with_half_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="holds no golden numbers"):
        run(tmp_path)
    np.savez(tmp_path / "irra_rank.npz", similarity=np.zeros((1, 2)))
    with pytest.raises(ContractError, match=r"irra_rank.npz"):
        run(tmp_path)
    (tmp_path / "irra_rank.npz").unlink()
    (tmp_path / "official_map.json").write_text(json.dumps({"case": {}}))
    with pytest.raises(ContractError, match=r"official_map.json are not of the form"):
        run(tmp_path)
