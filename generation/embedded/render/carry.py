"""What a person carries: backpack with straps, handbag in the hand, large bag on a cross strap, an object held in front."""

from itertools import pairwise

import numpy as np

from generation.embedded.render.figure import Figure, accent
from generation.embedded.render.raster import Canvas

BAG_COLORS = ("black", "red", "blue", "green", "yellow", "brown", "pink", "orange", "gray")


def add_carried(figure: Figure, near_side: int) -> None:
    """Queue everything carried. `near_side` (+1 left, -1 right) is the side that hand and shoulder bags hang on."""
    person = figure.person
    avoid = (person.upper_color, person.lower_color)
    colors = [accent(figure, avoid, BAG_COLORS) for _ in range(3)]
    if person.backpack:
        _add_backpack(figure, colors[0])
    if person.bag:
        _add_shoulder_bag(figure, colors[1], near_side)
    if person.handbag:
        _add_handbag(figure, colors[2], -near_side if person.bag and abs(np.cos(figure.frame.yaw)) > 0.5 else near_side)
    if person.holds_object:
        _add_object(figure)


def _add_backpack(figure: Figure, rgb: np.ndarray) -> None:
    build, frame = figure.pose.build, figure.frame
    top, bottom = build.shoulder_y - 0.012, build.waist_y + 0.085
    half, deep, z = max(build.shoulder * 0.80, 0.082), 0.052, -build.depth - 0.030
    rows = ((0.0, 0.62), (0.06, 0.86), (0.2, 1.0), (0.85, 1.0), (0.95, 0.94), (1.0, 0.86))
    levels = [(top + t * (bottom - top), half * r, deep * r, 0.0, z) for t, r in rows]
    pocket = [
        (top + 0.52 * (bottom - top), half * 0.70, deep * 1.2, 0.0, z),
        (top + 0.90 * (bottom - top), half * 0.74, deep * 1.2, 0.0, z),
    ]
    _, _, depth = figure.at((0.0, 0.3, z))

    def paint(canvas: Canvas) -> None:
        canvas.loft(frame, levels, rgb, sag=0.010, flat=0.75)
        if depth > 0.03:
            canvas.loft(frame, pocket, rgb * 0.74, sag=0.010, flat=0.75)
            loop = figure.at((0.0, top - 0.004, z))
            canvas.ellipse((loop[0], loop[1]), 0.018 * frame.scale, 0.010 * frame.scale, rgb * 0.6)

    figure.add(depth + 0.09 if depth > 0.05 else depth + 0.03, paint)
    for side in (-1, 1):
        x = side * build.shoulder * 0.60
        path = [
            (x, build.shoulder_y - 0.018, -0.01),
            (x * 1.04, build.shoulder_y + 0.02, build.depth * 0.8),
            (x * 1.08, build.waist_y - 0.07, build.depth * 0.95),
            (side * build.shoulder * 0.92, build.waist_y - 0.02, 0.0),
        ]
        _add_strap(figure, path, rgb * 0.82, 0.026)


def _add_strap(figure: Figure, path: list[tuple], rgb: np.ndarray, width: float) -> None:
    """A strap along body points; its depth decides whether the torso hides it."""
    points = [figure.at(point) for point in path]
    depth = float(np.mean([point[2] for point in points[1:-1]]))

    def paint(canvas: Canvas) -> None:
        for start, end in pairwise(points):
            canvas.capsule(start, end, width * figure.frame.scale / 2, width * figure.frame.scale / 2, rgb)

    figure.add(depth + 0.07 if depth > 0.0 else depth, paint)


def _add_shoulder_bag(figure: Figure, rgb: np.ndarray, side: int) -> None:
    build, frame = figure.pose.build, figure.frame
    x = side * (build.hip + 0.058)
    top, bottom, back = build.hip_y - 0.055, build.hip_y + 0.075, -0.025
    levels = [
        (top, 0.052, 0.054, x, back),
        (top + 0.02, 0.056, 0.058, x, back),
        (bottom - 0.02, 0.058, 0.062, x, back),
        (bottom, 0.050, 0.052, x, back),
    ]
    flap = [(top - 0.002, 0.055, 0.057, x, back), (top + 0.052, 0.059, 0.062, x, back)]

    def paint(canvas: Canvas) -> None:
        canvas.loft(frame, levels, rgb, sag=0.008, flat=0.8)
        canvas.loft(frame, flap, rgb * 0.74, sag=0.012, flat=0.8)

    _, _, depth = figure.at((x, top, 0.0))
    figure.add(depth + 0.14, paint)
    for face in (1, -1):
        deep = face * build.depth
        path = [
            (-side * build.shoulder * 0.62, build.shoulder_y - 0.018, 0.0),
            (-side * build.shoulder * 0.35, build.shoulder_y + 0.05, deep),
            (side * build.waist * 0.7, build.waist_y + 0.02, deep),
            (x, top + 0.01, 0.0),
        ]
        _add_strap(figure, path, rgb * 0.80, 0.020)


def _add_handbag(figure: Figure, rgb: np.ndarray, side: int) -> None:
    scale, frame = figure.frame.scale, figure.frame
    x, y, z = figure.pose.hands[side]
    x += side * 0.006
    levels = [
        (y + 0.045, 0.040, 0.052, x, z),
        (y + 0.060, 0.046, 0.060, x, z),
        (y + 0.115, 0.052, 0.068, x, z),
        (y + 0.125, 0.048, 0.062, x, z),
    ]
    grip, left, right = figure.at((x, y + 0.006, z)), figure.at((x, y + 0.05, z - 0.035)), figure.at((x, y + 0.05, z + 0.035))
    if abs(np.cos(frame.yaw)) > 0.5:
        left, right = figure.at((x - 0.03, y + 0.05, z)), figure.at((x + 0.03, y + 0.05, z))

    def paint(canvas: Canvas) -> None:
        for end in (left, right):
            canvas.stroke(grip, end, 0.012 * scale, rgb * 0.7)
        canvas.loft(frame, levels, rgb, sag=0.006, flat=0.8)
        clasp = figure.at((x, y + 0.072, z))
        canvas.ellipse((clasp[0], clasp[1]), 0.009 * scale, 0.008 * scale, (236, 206, 120))

    _, _, depth = figure.at(figure.pose.joint("shoulder", side))
    figure.add(depth + 0.13, paint)


def _add_object(figure: Figure) -> None:
    """A parcel between the hands; from behind the body hides it."""
    frame = figure.frame
    y, z = figure.pose.hands[1][1], figure.pose.hands[1][2]
    rgb = np.array(((196, 152, 98), (232, 232, 226), (70, 120, 190))[figure.person.look % 3], np.float32)
    levels = [(y - 0.050, 0.062, 0.045, 0.0, z), (y + 0.040, 0.062, 0.045, 0.0, z)]
    tape = [(y - 0.050, 0.010, 0.046, 0.0, z + 0.002), (y + 0.040, 0.010, 0.046, 0.0, z + 0.002)]
    _, _, depth = figure.at((0.0, y, z))

    def paint(canvas: Canvas) -> None:
        canvas.loft(frame, levels, rgb, sag=0.005, flat=0.7)
        if np.cos(frame.yaw) > 0.6:
            canvas.loft(frame, tape, rgb * 0.72, sag=0.005, flat=0.2)

    figure.add(0.22 if depth > 0.0 else -0.05, paint)
