"""What a test tells as its tally stands in the summary, although the test has passed in another process."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEST = """
def test_one(record_property):
    record_property("tally", "filter 3 == 2 + 1 + 0")

def test_other(record_property):
    record_property("else", "unsaid")
"""


@pytest.mark.parametrize("options", [(), ("--numprocesses", "1")])
def test_tallies_are_printed_one_line_a_test(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "test_it.py").write_text(TEST)
    argv = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), *options]
    done = subprocess.run([*argv, str(tmp_path / "test_it.py")], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("\ntest_one: filter 3 == 2 + 1 + 0\n") == 1, done.stdout
    assert "unsaid" not in done.stdout
