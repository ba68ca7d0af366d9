"""Options and fixtures for all tests."""

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "folder of reference data and golden numbers (default: ../shared)"
    parser.addoption("--shared", type=Path, default=ROOT.parent / "shared", help=text)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What tests tell by `record_property("tally", text)`, one line a test: the output of those that pass is not shown."""
    reports = [report for group in terminalreporter.stats.values() for report in group if getattr(report, "when", None) == "teardown"]
    lines = [f"{report.head_line}: {text}" for report in reports for name, text in report.user_properties if name == "tally"]
    if lines:
        terminalreporter.section("seen == kept + dropped + failed")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder of reference data; tests that need it skip where it is absent."""
    folder = request.config.getoption("--shared")
    if not folder.is_dir():
        pytest.skip(f"reference data not found at {folder}; give --shared DIR")
    return folder
