"""Proportions and a walking pose: the skeleton that clothes are hung on, in body units (see raster.Frame)."""

from dataclasses import dataclass

import numpy as np

from generation.embedded.render.person import Person

Point = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Build:
    """Proportions as fractions of the body height; widths are half widths or radii."""

    head: float  # chin height below the crown
    head_width: float
    shoulder_y: float
    shoulder: float
    waist_y: float
    waist: float
    hip_y: float
    hip: float
    depth: float
    knee_y: float
    arm: float  # radius at the shoulder
    leg: float  # radius at the hip
    neck: float
    upper_arm: float
    forearm: float


_BUILDS = {
    ("man", "adult"): Build(0.152, 0.056, 0.212, 0.126, 0.385, 0.094, 0.520, 0.086, 0.062, 0.735, 0.037, 0.053, 0.038, 0.165, 0.140),
    ("woman", "adult"): Build(0.150, 0.052, 0.210, 0.096, 0.365, 0.063, 0.515, 0.097, 0.056, 0.735, 0.027, 0.050, 0.023, 0.158, 0.135),
    ("man", "child"): Build(0.198, 0.074, 0.256, 0.114, 0.420, 0.096, 0.550, 0.088, 0.062, 0.750, 0.034, 0.050, 0.031, 0.145, 0.122),
    ("woman", "child"): Build(0.198, 0.071, 0.256, 0.090, 0.405, 0.070, 0.545, 0.090, 0.056, 0.750, 0.026, 0.046, 0.024, 0.140, 0.118),
}
ANKLE_Y = 0.945


@dataclass(frozen=True, slots=True)
class Pose:
    """Joints in body units: x to the body's left, y down, z forward. `sides` are +1 (left) and -1 (right)."""

    build: Build
    joints: dict[str, Point]
    toes: dict[int, Point]
    hands: dict[int, Point]

    def joint(self, name: str, side: int) -> Point:
        """The left (side=1) or right (side=-1) joint of this name."""
        return self.joints[f"{'left' if side > 0 else 'right'}_{name}"]


def build_of(person: Person) -> Build:
    """The proportions of this person: by gender and age, widened by the person's own factor."""
    base = _BUILDS[person.gender, "child" if person.age == "child" else "adult"]
    stretched = {name: getattr(base, name) * person.width for name in ("shoulder", "waist", "hip", "depth", "arm", "leg")}
    kept = {name: getattr(base, name) for name in Build.__slots__ if name not in stretched}
    return Build(**kept, **stretched)


def walking_pose(person: Person, rng: np.random.Generator, yaw: float = 0.0) -> Pose:
    """A random phase of a walk; arms swing against the legs, or hold an object in front of the chest.

    A positive stride has the left leg in front. Most strides open the legs in the picture; one that crosses them is long
    when seen from the side and short otherwise, so that the far leg is still seen.
    """
    build = build_of(person)
    size, crossing = float(rng.uniform(0.0, 1.0)), bool(rng.random() < 0.2)
    opening = 1.0 if np.sin(yaw) * np.cos(yaw) >= 0 else -1.0
    if abs(np.sin(yaw)) > 0.5:
        stride = -opening * (0.36 + 0.06 * size) if crossing else opening * (0.22 + 0.16 * size)
    else:
        stride = -opening * (0.08 + 0.06 * size) if crossing else opening * (0.14 + 0.20 * size)
    if person.lower_length == "long" and person.lower_type in ("skirt", "dress"):
        stride *= 0.6  # a long hem allows short steps only
    joints: dict[str, Point] = {}
    toes, hands = {}, {}
    for side, name in ((1, "left"), (-1, "right")):
        hip, knee, ankle, toes[side] = _leg(build, side, stride * side, rng)
        joints |= {f"{name}_hip": hip, f"{name}_knee": knee, f"{name}_ankle": ankle}
        shoulder, elbow, wrist, hands[side] = _arm(build, side, -stride * side * 0.9, person.holds_object, rng)
        joints |= {f"{name}_shoulder": shoulder, f"{name}_elbow": elbow, f"{name}_wrist": wrist}
    return Pose(build, joints, toes, hands)


def _leg(build: Build, side: int, swing: float, rng: np.random.Generator) -> tuple[Point, Point, Point, Point]:
    hip = (side * build.hip * 0.55, build.hip_y + 0.015, 0.0)
    thigh, shin = build.knee_y - hip[1], ANKLE_Y - build.knee_y
    bend = swing - (0.05 if swing > 0 else 0.12) - float(rng.uniform(0.0, 0.08))
    spread = side * float(rng.uniform(0.006, 0.014))
    knee = (hip[0] + spread, hip[1] + thigh * np.cos(swing), thigh * np.sin(swing))
    ankle = (knee[0] + spread * 0.6, knee[1] + shin * np.cos(bend), knee[2] + shin * np.sin(bend))
    toe = (ankle[0] + side * 0.014, ankle[1] + 0.028, ankle[2] + 0.062)
    return hip, knee, ankle, toe


def _arm(build: Build, side: int, swing: float, holding: bool, rng: np.random.Generator) -> tuple[Point, Point, Point, Point]:
    shoulder = (side * (build.shoulder - build.arm * 0.35), build.shoulder_y + 0.012, 0.0)
    out = float(rng.uniform(0.16, 0.28)) + max(0.0, build.hip - build.shoulder)
    bend = float(rng.uniform(0.15, 0.55))
    if holding:
        swing, out, bend = 0.15, 0.16, 1.45
    elbow = _reach(shoulder, build.upper_arm, side * out, swing)
    turn = -side * 0.55 if holding else side * out * 0.35
    wrist = _reach(elbow, build.forearm, turn, swing + bend)
    hand = _reach(wrist, 0.030, turn, swing + bend)
    return shoulder, elbow, wrist, hand


def _reach(start: Point, length: float, out: float, swing: float) -> Point:
    """The end of a bone hanging down, lifted sideways by `out` and forwards by `swing` radians."""
    return (
        start[0] + length * float(np.sin(out)),
        start[1] + length * float(np.cos(out) * np.cos(swing)),
        start[2] + length * float(np.cos(out) * np.sin(swing)),
    )
