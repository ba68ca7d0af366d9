"""Python's garbage collector, kept out of where thousands of objects come that all stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """For blocks that make many lasting objects: the collector looks at all of them again and again. Afterwards it never looks at them.

    Cycles that become garbage inside the block are never freed either: put no weights in it.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_on:
            gc.enable()
