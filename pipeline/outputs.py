"""Removal of what stages have made. Used by `run --redo`, `run --fresh` and `redecide`."""

import shutil
from collections.abc import Sequence

from pipeline.contracts.errors import StageError
from pipeline.paths import RunPaths


def remove_stages(paths: RunPaths, names: Sequence[str]) -> list[str]:
    """Remove the outputs of stages, the last one first; returns what was removed, one line each.

    Records go first: a process killed in the middle leaves units that count as missing, never a record without its files.
    """
    lines = []
    for name in reversed(names):
        folder = paths.stage(name)
        if not folder.is_dir():
            continue
        num_units = len(paths.done_units(name))
        shutil.rmtree(folder / "done", ignore_errors=True)
        try:
            shutil.rmtree(folder)
        except OSError as err:
            raise StageError(f"cannot remove {folder}: {err.strerror or err}; remove it by hand, then run again") from err
        lines.append(f"removed {folder} ({num_units} done units)")
    return lines
