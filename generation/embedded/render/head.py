"""Head, face, hair, hat and glasses, placed by azimuth and height on the head so that one description serves all views."""

import numpy as np

from generation.embedded.render.figure import Figure, accent
from generation.embedded.render.palette import HAIR_COLORS
from generation.embedded.render.raster import Canvas

HAT_COLORS = ("black", "red", "blue", "green", "yellow", "brown", "gray", "orange", "white")
HAT_SHAPES = ("cap", "brimmed", "beanie")


def add_head(figure: Figure) -> None:
    """Queue the head and what is on it; long hair also hangs behind the neck."""
    person = figure.person
    hair = np.asarray(HAIR_COLORS[person.hair_color], np.float32) * float(figure.look.uniform(0.92, 1.08))
    beard = person.gender == "man" and person.age != "child" and figure.look.random() < 0.4
    hat = (HAT_SHAPES[int(figure.look.integers(3))], accent(figure, (person.hair_color, person.upper_color), HAT_COLORS))
    if person.hair_length == "long":
        behind = -0.06 * float(np.cos(figure.frame.yaw))
        figure.add(min(behind, 0.05), lambda canvas: _curtain(figure, canvas, hair * 0.80, None))

    def paint(canvas: Canvas) -> None:
        _skull(figure, canvas)
        if np.cos(figure.frame.yaw) > -0.35:
            _face(figure, canvas, hair, beard)
        _hair(figure, canvas, hair)
        if person.glasses:
            _glasses(figure, canvas)
        if person.hat:
            _hat(figure, canvas, *hat)

    figure.add(0.30, paint)


def _head_levels(figure: Figure, grow: float = 0.0) -> list[tuple]:
    build = figure.pose.build
    h, w = build.head, build.head_width
    jaw = 0.80 if figure.person.gender == "man" else 0.62
    chin = 0.52 if figure.person.gender == "man" else 0.30
    rows = (
        (0.0, 0.05),
        (0.015, 0.30),
        (0.05, 0.52),
        (0.10, 0.70),
        (0.18, 0.87),
        (0.29, 0.97),
        (0.45, 1.0),
        (0.62, 0.95),
        (0.78, jaw + 0.04),
        (0.90, (jaw + chin) / 2),
        (1.0, chin),
    )
    wide, deep = w + grow, w * 1.16 + grow
    return [(t * (h + grow * 0.5) - grow * (1 - t), wide * r, deep * r, 0.0, 0.004 + w * 0.24 * max(t - 0.5, 0.0)) for t, r in rows]


def _skull(figure: Figure, canvas: Canvas) -> None:
    canvas.loft(figure.frame, _head_levels(figure), figure.skin, flat=0.92)
    build, scale = figure.pose.build, figure.frame.scale
    for side in (-1, 1):
        x, y, depth = figure.at((side * build.head_width * 1.02, build.head * 0.54, -0.004))
        if depth > -0.03:
            squeeze = 0.45 + 0.55 * abs(np.sin(figure.frame.yaw))
            canvas.ellipse((x, y), 0.20 * build.head_width * scale * squeeze, 0.10 * build.head * scale, figure.skin * 0.90)


def _spot(figure: Figure, azimuth: float, height: float, out: float = 1.0) -> tuple[float, float, float]:
    """(x px, y px, cosine to the viewer) of a place on the head; height 0 is the crown, 1 the chin."""
    build = figure.pose.build
    x = np.sin(azimuth) * build.head_width * out
    z = np.cos(azimuth) * build.head_width * 1.12 * out
    px, py, _ = figure.frame.project(x, build.head * height, z)
    # The look-down of the camera must not push features off the head.
    py -= figure.frame.scale * figure.frame.pitch * z * np.cos(figure.frame.yaw) * 0.7
    return px, py, float(np.cos(azimuth + figure.frame.yaw))


def _face(figure: Figure, canvas: Canvas, hair: np.ndarray, beard: bool) -> None:
    person, build, scale = figure.person, figure.pose.build, figure.frame.scale
    w = build.head_width * scale
    woman, child = person.gender == "woman", person.age == "child"
    shadow = figure.skin * np.array((0.78, 0.70, 0.66), np.float32)
    if beard:
        _beard(figure, canvas, hair)
    brow = np.minimum(hair, 150.0) * 0.8
    for side in (-1, 1):
        x, y, facing = _spot(figure, side * 0.42, 0.53)
        if facing > 0.12:
            _eye(canvas, (x, y), w, facing, woman, child)
            a, b = _spot(figure, side * 0.68, 0.418), _spot(figure, side * 0.20, 0.404)
            canvas.stroke(a, b, w * (0.09 if woman else 0.15), brow)
    bridge, tip = _spot(figure, 0.0, 0.55, 1.02), _spot(figure, 0.0, 0.685, 1.16)
    if tip[2] > -0.2:
        canvas.capsule(bridge, tip, 0.09 * w, 0.15 * w, figure.skin * 0.97)
        canvas.stroke((tip[0] - 0.12 * w, tip[1] + 0.12 * w), (tip[0] + 0.12 * w, tip[1] + 0.12 * w), 0.09 * w, shadow)
    lips = np.array((198, 44, 62) if woman else (168, 92, 82), np.float32) * (0.55 + 0.45 * figure.skin.mean() / 205)
    _mouth(figure, canvas, lips)


def _mouth(figure: Figure, canvas: Canvas, lips: np.ndarray) -> None:
    """A slight smile: two strokes whose outer ends are higher."""
    w, woman = figure.pose.build.head_width * figure.frame.scale, figure.person.gender == "woman"
    left, middle, right = _spot(figure, 0.36, 0.812, 0.98), _spot(figure, 0.0, 0.838, 0.98), _spot(figure, -0.36, 0.812, 0.98)
    for corner in (left, right):
        if corner[2] > 0.0 and middle[2] > 0.0:
            canvas.stroke(middle, corner, w * (0.19 if woman else 0.13) * (0.6 + 0.4 * max(middle[2], 0.0)), lips)


def _eye(canvas: Canvas, center: tuple, w: float, facing: float, woman: bool, child: bool) -> None:
    size = 1.12 if child or woman else 0.95
    x, y = center
    canvas.ellipse((x, y), 0.20 * w * size * (0.35 + 0.65 * facing), 0.115 * w * size, (246, 246, 244))
    canvas.ellipse((x, y), 0.105 * w * size, 0.115 * w * size, (40, 28, 24))
    half = 0.24 * w * size * (0.35 + 0.65 * facing)
    canvas.stroke((x - half, y - 0.09 * w), (x + half, y - 0.09 * w), w * (0.10 if woman else 0.05), (30, 22, 22))


def _beard(figure: Figure, canvas: Canvas, hair: np.ndarray) -> None:
    h = figure.pose.build.head

    def edge(azimuth: np.ndarray, v: np.ndarray) -> np.ndarray:
        line = np.interp(azimuth, (0.0, 0.30, 0.5, 1.5, 1.9), (0.72, 0.74, 0.80, 0.58, 1.2))
        return np.clip((v - line * h) * figure.frame.scale + 0.5, 0.0, 1.0) * 0.88

    canvas.loft(figure.frame, _head_levels(figure, 0.002), hair * 0.95, edge=edge)


def _hair(figure: Figure, canvas: Canvas, hair: np.ndarray) -> None:
    """The cap of hair down to the hairline; a bob for short-haired women, a crop for men, a curtain when long."""
    person, build, scale = figure.person, figure.pose.build, figure.frame.scale
    woman, long = person.gender == "woman", person.hair_length == "long"
    side, nape = (0.62, 0.80) if not woman else (0.86, 0.94)
    if long:
        _curtain(figure, canvas, hair, "front")
        side, nape = 0.9, 1.0
    fringe = 0.26 + 0.06 * ((person.look >> 3) % 3)
    borders = ((0.0, 0.45, 0.85, 1.15, 1.5, 1.95, 3.2), (fringe, fringe + 0.02, 0.34, 0.46, side, max(side, nape - 0.06), nape))

    def edge(azimuth: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.clip((np.interp(azimuth, *borders) * build.head - v) * scale + 0.5, 0.0, 1.0)

    grow = 0.011 if woman and not long else 0.007
    canvas.loft(figure.frame, _head_levels(figure, grow), hair, edge=edge)


def _curtain(figure: Figure, canvas: Canvas, hair: np.ndarray, part: str | None) -> None:
    """Long hair hanging to the shoulder blades: the whole of it behind the neck, or only the locks beside the face."""
    build, person, scale = figure.pose.build, figure.person, figure.frame.scale
    end = build.shoulder_y + (0.070 if person.gender == "woman" else 0.045)
    w = build.head_width
    levels = [
        (build.head * 0.30, w * 1.12, w * 1.20, 0.0, -0.006),
        (build.head * 0.85, w * 1.12, w * 1.10, 0.0, -0.016),
        (build.shoulder_y + 0.01, w * 1.10, w * 1.0, 0.0, -0.026),
        (end - 0.03, w * 1.02, w * 0.92, 0.0, -0.030),
        (end, w * 0.70, w * 0.60, 0.0, -0.030),
    ]

    def edge(azimuth: np.ndarray, v: np.ndarray) -> np.ndarray:
        border = np.interp(v / build.head, (0.3, 0.6, 0.95, 1.4), (1.15, 1.10, 0.98, 1.02))
        return np.clip((azimuth - border) * build.head_width * scale * 0.8 + 0.5, 0.0, 1.0)

    def strands(u: np.ndarray, _: np.ndarray) -> np.ndarray:
        return np.clip(np.sin(np.arcsin(u) * 9.0 + 1.0), 0.0, 1.0) * 0.5

    canvas.loft(figure.frame, levels, hair, sag=0.012, edge=edge if part else None, texture=strands, second=hair * 0.78 + 6.0)


def _glasses(figure: Figure, canvas: Canvas) -> None:
    w, dark = figure.pose.build.head_width * figure.frame.scale, figure.person.look % 2 == 0
    rim, ends = np.array((26, 24, 30), np.float32), []
    for side in (-1, 1):
        x, y, facing = _spot(figure, side * 0.44, 0.535, 1.04)
        if facing <= 0.05:
            continue
        rx, ry = 0.31 * w * (0.3 + 0.7 * facing), 0.22 * w
        canvas.ellipse((x, y), rx, ry, rim, 1.0 if dark else 0.28)
        for turn in range(0 if dark else 10):
            a, b = turn * 0.6283, (turn + 1) * 0.6283
            canvas.stroke((x + rx * np.cos(a), y + ry * np.sin(a)), (x + rx * np.cos(b), y + ry * np.sin(b)), 0.10 * w, rim)
        ends.append((x, y))
        ear = _spot(figure, side * 1.5, 0.53, 1.02)
        canvas.stroke((x, y - 0.04 * w), ear, 0.09 * w, rim)
    if len(ends) == 2:
        canvas.stroke(ends[0], ends[1], 0.09 * w, rim)


def _hat(figure: Figure, canvas: Canvas, shape: str, rgb: np.ndarray) -> None:
    build, frame = figure.pose.build, figure.frame
    h, w, scale = build.head, build.head_width, frame.scale
    crown, rim = {"cap": (-0.020, 0.30), "brimmed": (-0.034, 0.27), "beanie": (-0.032, 0.33)}[shape]
    grow = 0.014
    levels = [
        (crown, w * 0.2, w * 0.25),
        (crown + 0.004, w * 0.50, w * 0.58),
        (crown + 0.014, w * 0.80, w * 0.92),
        (h * 0.10, w + grow, w * 1.15 + grow),
        (h * rim, w + grow, w * 1.18 + grow),
    ]
    canvas.loft(frame, levels, rgb, sag=0.006)
    forward = np.cos(frame.yaw)
    if shape == "cap" and forward > -0.3:
        base, tip = _spot(figure, 0.0, rim, 0.95), _spot(figure, 0.0, rim + 0.05, 1.80)
        canvas.capsule((base[0], base[1]), tip, max(w * scale * (0.30 + 0.45 * max(forward, 0)), 1.0) * 0.55, w * scale * 0.14, rgb * 0.62)
        if forward > 0.6:
            x, y, _ = _spot(figure, 0.0, rim, 1.1)
            canvas.ellipse((x, y), w * scale * 0.98, h * scale * 0.065, rgb * 0.66, domed=True)
    elif shape == "brimmed":
        x, y, _ = figure.at((0.0, h * rim, 0.0))
        canvas.ellipse((x, y), w * scale * 1.95, h * scale * 0.085, rgb * 0.9, domed=True)
        canvas.loft(frame, [(h * 0.14, w + grow, w * 1.15 + grow), (h * 0.24, w + grow, w * 1.16 + grow)], rgb * 0.45, sag=0.004)
    elif shape == "beanie":
        canvas.loft(
            frame,
            [(h * 0.20, w + grow * 1.3, w * 1.18 + grow * 1.3), (h * 0.36, w + grow * 1.3, w * 1.18 + grow * 1.3)],
            rgb * 0.72,
            sag=0.006,
        )
