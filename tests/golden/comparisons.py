"""What both sets of golden numbers are held to."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pretrain.parity.fixture import Check


def golden_folder(shared: Path, name: str) -> Path:
    """The folder of reference data, or the test skips."""
    found = shared / "reference" / name
    if not found.is_dir():
        pytest.skip(f"no golden numbers at {found}")
    return found


def assert_agrees(checks: Sequence[Check], group: str, least: int) -> None:
    """All comparisons of a group pass, and there are at least so many: a group that silently compares nothing must not pass."""
    mine = [check for check in checks if check.name.startswith(f"{group}/")]
    assert len(mine) >= least
    assert [check for check in mine if not check.passed] == []
