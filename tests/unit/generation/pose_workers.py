"""Work of a pose worker that hangs or dies, in a module that a new process imports in no time: its start counts towards the time-out."""

import os
import time

import numpy as np

from tests.unit.generation.figures import standing


def load_nothing(model: str) -> None:
    pass


def hang_the_first(model: str) -> None:
    """model: a file that the first worker makes."""
    try:
        open(model, "x").close()
    except FileExistsError:
        return
    time.sleep(3600)


def hang_on_black(image: np.ndarray) -> list[np.ndarray]:
    if image.max() == 0:
        time.sleep(3600)
    return [np.full((33, 4), image.max(), np.float32)]


def die_on_black(image: np.ndarray) -> list[np.ndarray]:
    if image.max() == 0:
        os._exit(9)
    return [np.full((33, 4), image.max(), np.float32)]


def die_on_white(image: np.ndarray) -> list[np.ndarray]:
    if image.min() == 255:
        os._exit(9)
    return [standing()]
