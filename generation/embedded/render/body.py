"""A dressed body as paint jobs sorted by depth: legs, torso, arms and the garments over them."""

from collections.abc import Callable

import numpy as np

from generation.embedded.render.details import upper_texture
from generation.embedded.render.figure import Figure
from generation.embedded.render.raster import Canvas

SHOES = ((36, 34, 36), (226, 224, 222), (96, 62, 40), (150, 150, 154), (176, 50, 48), (50, 66, 120))


def add_body(figure: Figure) -> None:
    """Queue legs, lower garment, torso and arms."""
    shoe = np.asarray(SHOES[int(figure.look.integers(len(SHOES)))], np.float32)
    for side in (1, -1):
        _add_leg(figure, side, shoe)
        _add_arm(figure, side)
    _add_lower(figure)
    _add_torso(figure)


def _add_leg(figure: Figure, side: int, shoe: np.ndarray) -> None:
    build, scale, kind = figure.pose.build, figure.frame.scale, figure.person.lower_type
    hip, knee, ankle = (figure.at(figure.pose.joint(name, side)) for name in ("hip", "knee", "ankle"))
    toe = figure.at(figure.pose.toes[side])
    leg, trousers = build.leg * scale, kind == "pants"
    slim = 0.86 if figure.person.gender == "woman" else 1.0
    # The far leg is in the shade of the near one; without that two legs of one colour merge.
    dim = 1.0 - 0.24 * float(np.clip(-hip[2] / (build.hip * 0.55), 0.0, 1.0)) if kind != "dress" else 1.0
    color = (figure.lower if trousers else figure.skin) * dim
    calf, foot = leg * (0.70 if trousers else 0.58) * slim, leg * (0.58 if trousers else 0.42) * slim

    def paint(canvas: Canvas) -> None:
        heel = (ankle[0], ankle[1] + 0.018 * scale)
        canvas.capsule(heel, toe, 0.024 * scale, 0.021 * scale, shoe)
        if not trousers:
            canvas.capsule(knee, ankle, calf, foot, color, limb=True)
            canvas.capsule(hip, knee, leg * 0.86, calf, color, limb=True)
            canvas.capsule((ankle[0], ankle[1] + 0.004 * scale), heel, 0.022 * scale, 0.024 * scale, shoe)
        else:
            canvas.capsule(knee, (ankle[0], ankle[1] + 0.010 * scale), calf * 1.06, foot * 1.10, color, limb=True, cut=True)
            canvas.capsule(hip, knee, leg, calf * 1.06, color, limb=True)
        if kind == "shorts":
            end = tuple(hip[i] + 0.86 * (knee[i] - hip[i]) for i in (0, 1))
            canvas.capsule(hip, end, leg * 1.02, leg * 0.96, figure.lower * dim, limb=True, cut=True)

    figure.add(hip[2] * 0.3 - 0.02, paint)


def _add_arm(figure: Figure, side: int) -> None:
    person, scale = figure.person, figure.frame.scale
    shoulder, elbow, wrist = (figure.at(figure.pose.joint(name, side)) for name in ("shoulder", "elbow", "wrist"))
    hand = figure.at(figure.pose.hands[side])
    arm, long = figure.pose.build.arm * scale, person.sleeve_length == "long"
    color = figure.upper * (0.72 if person.upper_pattern == "splice" else 1.0)

    def paint(canvas: Canvas) -> None:
        canvas.capsule(wrist, hand, max(arm * 0.52, 0.016 * scale), max(arm * 0.50, 0.016 * scale), figure.skin)
        if long:
            canvas.capsule(elbow, wrist, arm * 0.84, arm * 0.70, color, limb=True, cut=True)
            canvas.capsule(shoulder, elbow, arm, arm * 0.84, color, limb=True)
            return
        canvas.capsule(elbow, wrist, arm * 0.70, arm * 0.50, figure.skin, limb=True)
        canvas.capsule(shoulder, elbow, arm * 0.84, arm * 0.70, figure.skin, limb=True)
        cuff = tuple(shoulder[i] + 0.62 * (elbow[i] - shoulder[i]) for i in (0, 1))
        canvas.capsule(shoulder, cuff, arm * 1.02, arm * 1.06, color, limb=True, cut=True)

    # A hand in front of the body must lie over it in every view; from behind the body covers it.
    front = 0.16 * np.cos(figure.frame.yaw) if person.holds_object else 0.0
    figure.add(shoulder[2] + 0.10 + front, paint)


def _add_lower(figure: Figure) -> None:
    build, kind, long = figure.pose.build, figure.person.lower_type, figure.person.lower_length == "long"
    top, deep = build.waist_y + 0.03, build.depth * 1.05
    if kind in ("pants", "shorts"):
        levels = [(top, build.waist, deep * 0.95), (build.hip_y, build.hip * 1.04, deep * 1.1), (build.hip_y + 0.05, build.hip * 1.0, deep)]
        figure.add(0.0, lambda canvas: canvas.loft(figure.frame, levels, figure.lower, sag=0.012))
        return
    hem = 0.885 if long else build.knee_y - 0.050
    flare = build.hip * (1.42 if long else 1.50)
    knees = abs(figure.pose.joints["left_knee"][2] - figure.pose.joints["right_knee"][2]) * 0.5
    reach = max(deep * 1.35, knees + 0.055) if long else max(deep * 1.4, knees * 0.8 + 0.05)
    levels = [(top, build.waist, deep * 0.95), (build.hip_y, build.hip * 1.10, deep * 1.15), (hem, flare, reach)]
    folds = figure.look.uniform(0.0, 6.3)
    figure.add(
        0.03,
        lambda canvas: canvas.loft(figure.frame, levels, figure.lower, sag=0.016, texture=_folds(folds, top), second=figure.lower * 0.74),
    )


def _folds(phase: float, top: float) -> Callable:
    def weight(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.clip((v - top) * 2.5, 0, 1) * np.clip(np.sin(np.arcsin(u) * 7.0 + phase), 0.0, 1.0) * 0.8

    return weight


def torso_levels(figure: Figure) -> list[tuple]:
    """The upper garment's outline: (y, half width, half depth, x, z) from the collar to the hem."""
    build, person = figure.pose.build, figure.person
    y, bust = build.shoulder_y, 0.012 if person.gender == "woman" and person.age != "child" else 0.0
    chest = (y + build.waist_y) / 2 - 0.02
    levels = [
        (y - 0.034, build.neck * 1.25, build.neck * 1.25, 0.0, 0.0),
        (y - 0.014, build.shoulder * 0.76, build.depth * 0.72, 0.0, 0.0),
        (y + 0.006, build.shoulder * 0.98, build.depth * 0.86, 0.0, 0.0),
        (chest, build.shoulder * 0.94, build.depth + bust, 0.0, bust * 0.7),
        (build.waist_y, build.waist * 1.03, build.depth * 0.92, 0.0, 0.0),
    ]
    if person.long_coat:
        knees = abs(figure.pose.joints["left_knee"][2] - figure.pose.joints["right_knee"][2]) * 0.4
        return [
            *levels,
            (build.hip_y, build.hip * 1.16, build.depth * 1.15, 0.0, 0.0),
            (0.715, build.hip * 1.34, build.depth * 1.25 + knees * 0.6, 0.0, 0.0),
        ]
    if person.lower_type == "dress":
        return [*levels, (build.waist_y + 0.05, build.waist * 1.08, build.depth, 0.0, 0.0)]
    tucked = 0.030 if person.gender == "woman" else 0.006
    hem = build.hip_y - tucked
    return [*levels, (hem, max(build.hip, build.waist) * 1.06, build.depth * 1.10, 0.0, 0.0)]


def _add_torso(figure: Figure) -> None:
    build, scale = figure.pose.build, figure.frame.scale
    texture, second = upper_texture(figure)
    levels = torso_levels(figure)
    throat, chin = figure.at((0.0, build.shoulder_y - 0.012, 0.004)), figure.at((0.0, build.head - 0.02, 0.006))

    def paint(canvas: Canvas) -> None:
        canvas.capsule(chin, throat, build.neck * scale, build.neck * 1.12 * scale, figure.skin * 0.93)
        canvas.loft(figure.frame, levels, figure.upper, sag=0.014, texture=texture, second=second)

    figure.add(0.06, paint)
