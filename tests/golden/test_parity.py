"""Golden numbers of the research code: every tensor, loss, gradient and metric agrees. Numbers come from the folder of reference data."""

from pathlib import Path

import pytest

from pretrain.parity.fixture import Check
from pretrain.parity.report import run_parity

GROUPS = {"checkpoint": 3, "full size": 5, "outputs": 20, "losses": 21, "grads": 7, "text": 6, "eval": 40, "misc": 19}
"""Least number of comparisons: a group that silently compares nothing must not pass."""


@pytest.fixture(scope="module")
def checks(shared: Path) -> list[Check]:
    folder = shared / "reference" / "parity"
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder}")
    return run_parity(folder)


@pytest.mark.parametrize("group", GROUPS)
def test_agrees_with_the_research_code(checks: list[Check], group: str) -> None:
    mine = [check for check in checks if check.name.startswith(f"{group}/")]
    assert len(mine) >= GROUPS[group]
    assert [check for check in mine if not check.passed] == []
