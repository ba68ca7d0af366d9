"""What a diffusion model gets wrong, drawn on purpose: the negatives that the quality filter is tested on."""

import cv2
import numpy as np

from generation.embedded.render.background import BACKGROUNDS, draw_background
from generation.embedded.render.person import VIEWS, sample_person
from generation.embedded.render.raster import Frame
from generation.embedded.render.scene import finish, make_canvas, paint_figure, render_person

FAILURES = ("no_person", "half_body", "two_people", "gray", "blank", "blurred")


def render_failure(kind: str, rng: np.random.Generator, height: int = 256, width: int = 128) -> np.ndarray:
    """(H, W, 3) uint8 RGB of the named failure. Raises: ValueError for an unknown kind."""
    if kind not in FAILURES:
        raise ValueError(f"kind={kind!r}: accepted are {', '.join(FAILURES)}")
    return _DRAWERS[kind](rng, height, width)


def _person(rng: np.random.Generator, height: int, width: int, background: str | None = None) -> np.ndarray:
    view = VIEWS[int(rng.integers(len(VIEWS)))]
    return render_person(sample_person(rng), rng, height=height, width=width, view=view, background=background).image


def _no_person(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return draw_background(BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))], rng, height, width)


def _half_body(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Only what lies above or below the waist, as large as a whole person would be."""
    tall = _person(rng, height * 2, width * 2)
    left = width // 2
    top = 0 if rng.random() < 0.5 else height
    return np.ascontiguousarray(tall[top : top + height, left : left + width])


def _two_people(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    kind = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))]
    canvas = make_canvas(draw_background(kind, rng, height, width), rng)
    for place in (0.27, 0.73):
        scale = min(height * float(rng.uniform(0.72, 0.80)), width / 0.52)
        yaw = float(rng.choice((0.0, np.pi))) + float(rng.uniform(-0.2, 0.2))
        frame = Frame(scale, place * width, height * 0.93 - scale, yaw)
        paint_figure(sample_person(rng, bag=False, holds_object=False), rng, frame, canvas)
    return finish(canvas)


def _gray(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.repeat(cv2.cvtColor(_person(rng, height, width), cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)


def _blank(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)


def _blurred(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return cv2.GaussianBlur(_person(rng, height, width), (0, 0), height * float(rng.uniform(0.022, 0.036)))


_DRAWERS = {
    "no_person": _no_person,
    "half_body": _half_body,
    "two_people": _two_people,
    "gray": _gray,
    "blank": _blank,
    "blurred": _blurred,
}
