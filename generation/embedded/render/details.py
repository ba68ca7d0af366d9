"""What makes a garment: patterns, collar, neckline, buttons, belt and the coat's front."""

from collections.abc import Callable

import numpy as np

from generation.embedded.render.figure import Figure
from generation.embedded.render.raster import Canvas


def upper_texture(figure: Figure) -> tuple[Callable | None, np.ndarray | None]:
    """(weight of the second colour by (u, v), second colour) of the upper garment; (None, None) when it is plain.

    Patterns stay within a third of the cloth and near its hue, so that the garment keeps the name of its colour.
    """
    pattern, rgb = figure.person.upper_pattern, figure.upper
    dark = figure.person.upper_color in ("black", "gray", "purple", "blue", "green", "red")
    second = np.minimum(rgb * 0.45 + 140.0, 255.0) if dark else rgb * 0.55
    top, waist = figure.pose.build.shoulder_y, figure.pose.build.waist_y
    if pattern == "stripe":
        return lambda u, v: _band((v - top) / 0.052, 0.34) * np.ones_like(u), second
    if pattern == "plaid":
        return lambda u, v: np.maximum(_band((v - top) / 0.058, 0.24), _band(np.arcsin(u) * 1.9 + 0.5, 0.20)) * 0.62, second
    if pattern == "splice":
        return lambda u, v: np.clip(((top + waist) / 2 - 0.035 - v) * 90.0, 0.0, 1.0) * np.ones_like(u), rgb * 0.66 if not dark else second
    return None, None


def _band(phase: np.ndarray, share: float) -> np.ndarray:
    """1 on `share` of each period of 1, with soft borders."""
    return np.clip((share / 2 - np.abs(phase % 1.0 - 0.5)) * 14.0 + 0.5, 0.0, 1.0)


def add_details(figure: Figure) -> None:
    """Queue collar, logo, coat front and belt over the torso."""
    if figure.person.upper_pattern == "logo":
        _add_logo(figure)
    if np.cos(figure.frame.yaw) > 0.1:
        figure.add(0.061, lambda canvas: _front(figure, canvas))


def _add_logo(figure: Figure) -> None:
    build, scale, cos = figure.pose.build, figure.frame.scale, abs(np.cos(figure.frame.yaw))
    dark = figure.upper.mean() < 150
    rgb = np.array((244, 240, 226) if dark else (48, 52, 74), np.float32)
    depth = build.depth * (1 if np.cos(figure.frame.yaw) > 0 else -1)
    x, y, _ = figure.at((0.0, (build.shoulder_y + build.waist_y) / 2 - 0.012, depth))
    radius = build.shoulder * 0.36 * scale
    figure.add(0.062, lambda canvas: canvas.ellipse((x, y), radius * max(cos, 0.25), radius * 0.8, rgb))


def _front(figure: Figure, canvas: Canvas) -> None:
    """Neckline, and for coats or long sleeves an opening down the front."""
    build, frame, person = figure.pose.build, figure.frame, figure.person
    scale, top = frame.scale, build.shoulder_y
    chest = build.depth * 0.92
    neck = figure.at((0.0, top - 0.026, build.neck * 0.9))
    cos = max(float(np.cos(frame.yaw)), 0.3)
    depth = 0.030 if person.gender == "woman" else 0.020
    canvas.ellipse((neck[0], neck[1]), build.neck * 1.05 * scale * cos, depth * scale, figure.skin * 0.95)
    line = figure.upper * 0.62 if figure.upper.mean() > 60 else figure.upper + 46.0
    if person.long_coat:
        _coat_front(figure, canvas, line)
    elif person.sleeve_length == "long" and person.upper_pattern is None and person.lower_type != "dress" and figure.person.look % 3 == 0:
        low = figure.at((0.0, build.hip_y - 0.04, chest))
        canvas.stroke((neck[0], neck[1] + depth * scale), low, 0.007 * scale, line)
    if person.lower_type == "dress":
        left, right = (figure.at((side * build.waist * 0.9, build.waist_y + 0.012, chest * 0.5)) for side in (-1, 1))
        canvas.stroke(left, right, 0.016 * scale, line)


def _coat_front(figure: Figure, canvas: Canvas, line: np.ndarray) -> None:
    build, scale, top = figure.pose.build, figure.frame.scale, figure.pose.build.shoulder_y
    deep = build.depth
    hem, waist = figure.at((0.0, 0.70, deep)), figure.at((0.0, build.waist_y - 0.02, deep))
    canvas.stroke(waist, hem, 0.008 * scale, line)
    for side in (-1, 1):
        collar = figure.at((side * build.neck * 1.2, top - 0.020, deep * 0.5))
        canvas.stroke(collar, waist, 0.012 * scale, line)
    for step in (0.02, 0.08, 0.14):
        button = figure.at((0.020, build.waist_y + step, deep))
        canvas.ellipse((button[0], button[1]), 0.007 * scale, 0.007 * scale, line)
