"""What behaves otherwise on some of the Pythons that the package supports."""

import re
from pathlib import Path

import pytest

PACKAGES = ("pipeline", "generation", "pretrain", "finetune")
ROOT = Path(__file__).resolve().parents[2]
POSSESSIVE_GROUP = re.compile(r"\)(?:[*+?]|\{[\d,]+\})\+|\(\?>")


@pytest.mark.parametrize("package", PACKAGES)
def test_no_group_of_an_expression_is_possessive_or_atomic(package: str) -> None:
    """Before 3.11.5 such groups match what they must not (CPython issues 100061, 106052), or for ever. A single class may be: `[^,]*+`."""
    found = {path: POSSESSIVE_GROUP.findall(path.read_text(encoding="utf-8")) for path in (ROOT / package).rglob("*.py")}
    assert found
    assert not {path: groups for path, groups in found.items() if groups}
