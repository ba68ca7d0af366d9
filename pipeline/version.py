"""Which version of this code made a file."""

from functools import cache


@cache
def code_version() -> str:
    """The installed version of passerby; "unknown" where the checkout is used without installing it."""
    from importlib.metadata import PackageNotFoundError, version  # here: slow to import, and few commands write files

    try:
        return version("passerby")
    except PackageNotFoundError:
        return "unknown"
