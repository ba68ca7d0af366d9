"""Which version of this code made a file."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version


@cache
def code_version() -> str:
    """The installed version of passerby; "unknown" where the checkout is used without installing it."""
    try:
        return version("passerby")
    except PackageNotFoundError:
        return "unknown"
