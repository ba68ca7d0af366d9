"""Options and fixtures for all tests."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    text = "folder of reference data and golden numbers (default: ../shared)"
    parser.addoption("--shared", type=Path, default=ROOT.parent / "shared", help=text)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest) -> Path:
    """The folder of reference data; tests that need it skip where it is absent."""
    folder = request.config.getoption("--shared")
    if not folder.is_dir():
        pytest.skip(f"reference data not found at {folder}; give --shared DIR")
    return folder
