"""Public entry point: a person in a place, photographed, with the true joints and labels."""

from dataclasses import dataclass, replace

import numpy as np

from generation.embedded.render.background import BACKGROUNDS, draw_background
from generation.embedded.render.body import add_body
from generation.embedded.render.carry import add_carried
from generation.embedded.render.details import add_details
from generation.embedded.render.figure import Figure, make_figure
from generation.embedded.render.head import add_head
from generation.embedded.render.labels import labels27
from generation.embedded.render.person import VIEWS, Person
from generation.embedded.render.pose import Pose, walking_pose
from generation.embedded.render.raster import Canvas, Frame

MARGIN = 0.03  # least free share of the height above the head and below the feet


@dataclass(frozen=True, slots=True)
class Render:
    """One picture: image (H, W, 3) uint8 RGB; joints name -> (x, y) in px; the 27 labels of the person drawn."""

    image: np.ndarray
    joints: dict[str, tuple[float, float]]
    view: str
    labels: list[int]
    person: Person


def render_person(
    person: Person,
    rng: np.random.Generator,
    *,
    height: int = 256,
    width: int = 128,
    view: str = "front",
    background: str | None = "plain",
    occlusion: bool = False,
) -> Render:
    """Draw one walking person, whole, filling most of the height.

    Args:
        view: front, side (facing left or right at random) or back.
        background: one of BACKGROUNDS; None draws one at random.
        occlusion: put a bush, bollard or box in front of the lower legs.

    Raises: ValueError for an unknown view or background.
    """
    if view not in VIEWS:
        raise ValueError(f"view={view!r}: accepted are {', '.join(VIEWS)}")
    kind = BACKGROUNDS[int(rng.integers(len(BACKGROUNDS)))] if background is None else background
    canvas = make_canvas(draw_background(kind, rng, height, width), rng)
    frame = _frame(person, rng, height, width, view)
    figure = paint_figure(person, rng, frame, canvas)
    if occlusion:
        _occlude(canvas, figure, rng)
    return Render(finish(canvas), _joints_px(figure), view, labels27(person), person)


def make_canvas(background: np.ndarray, rng: np.random.Generator) -> Canvas:
    """A canvas over this background, lit from a random upper direction."""
    light = (float(rng.uniform(-0.6, 0.6)), float(rng.uniform(-0.75, -0.35)), 0.75)
    gain = float(rng.uniform(0.92, 1.06))
    return Canvas(background.astype(np.float32) * gain, light, gain)


def finish(canvas: Canvas) -> np.ndarray:
    """The picture as uint8."""
    return np.clip(canvas.pixels + 0.5, 0, 255).astype(np.uint8)


def paint_figure(person: Person, rng: np.random.Generator, frame: Frame, canvas: Canvas) -> Figure:
    """Pose, dress and paint one person where the frame says; returns the figure with its joints."""
    pose = walking_pose(person, rng, frame.yaw)
    figure = make_figure(person, pose, _inside(pose, frame, canvas.width))
    turned = abs(np.sin(frame.yaw)) > 0.5
    # Seen from the side, bags hang on the visible side; otherwise the person's habit decides.
    near = (-1 if np.sin(frame.yaw) > 0 else 1) if turned else (1 if person.look % 2 else -1)
    add_body(figure)
    add_details(figure)
    add_head(figure)
    add_carried(figure, near)
    _shadow(canvas, figure)
    figure.paint(canvas)
    return figure


def _frame(person: Person, rng: np.random.Generator, height: int, width: int, view: str) -> Frame:
    facing = float(rng.choice((-1, 1)))
    # A side view is turned a little towards the camera, so that the far arm and leg stay visible.
    low, high, turn = {"front": (0.0, 0.24, 0.0), "side": (0.80, 1.02, 0.0), "back": (0.08, 0.40, np.pi)}[view]
    yaw = turn + facing * float(rng.uniform(low, high))
    share = float(rng.uniform(0.87, 0.94)) * person.height * (0.92 if person.age == "child" else 1.0)
    top_room = 0.04 if person.hat else 0.015
    scale = min(share * height, height * (1.0 - 2.0 * MARGIN) / (1.02 + top_room), width / 0.47)
    free = height - scale * (1.02 + top_room)
    top = scale * top_room + free * float(rng.uniform(0.35, 0.65))
    left = width / 2 + float(rng.uniform(-0.5, 0.5)) * max(0.06 * width, width - 0.56 * scale) * 0.25
    return Frame(scale, left, top, yaw, float(rng.uniform(-0.025, 0.025)))


def _inside(pose: Pose, frame: Frame, width: int) -> Frame:
    """The frame moved sideways until hands and feet are inside the picture; a body wider than it is centred."""
    points = [*pose.joints.values(), *pose.hands.values(), *pose.toes.values()]
    xs = [frame.project(*point)[0] for point in points]
    low, high, rim = min(xs), max(xs), 0.035 * frame.scale
    too_wide = high - low + 2 * rim > width
    shift = (width - low - high) / 2 if too_wide else max(rim - low, 0.0) + min(width - rim - high, 0.0)
    return replace(frame, left=frame.left + float(shift))


def _shadow(canvas: Canvas, figure: Figure) -> None:
    scale = figure.frame.scale
    feet = [figure.at(figure.pose.joint("ankle", side)) for side in (1, -1)]
    center = (sum(foot[0] for foot in feet) / 2, max(foot[1] for foot in feet) + 0.030 * scale)
    for size, opacity in ((1.0, 0.16), (0.8, 0.16), (0.6, 0.18)):
        canvas.ellipse(center, 0.20 * scale * size, 0.026 * scale * size, np.array((40, 40, 46)), opacity)


def _joints_px(figure: Figure) -> dict[str, tuple[float, float]]:
    build, points = figure.pose.build, dict(figure.pose.joints)
    points["nose"] = (0.0, build.head * 0.68, build.head_width * 1.15)
    for side, name in ((1, "left_eye"), (-1, "right_eye")):
        points[name] = (side * build.head_width * 0.42, build.head * 0.53, build.head_width * 1.0)
    return {name: (float(figure.at(point)[0]), float(figure.at(point)[1])) for name, point in sorted(points.items())}


def _occlude(canvas: Canvas, figure: Figure, rng: np.random.Generator) -> None:
    """Something low in front of one leg: a bush, a bollard or a box."""
    scale, kind = figure.frame.scale, int(rng.integers(3))
    x = figure.frame.left + float(rng.choice((-1, 1))) * 0.10 * scale
    bottom = figure.frame.top + scale * 1.02
    if kind == 0:
        green = np.array((70, 122, 66), np.float32)
        for dx, dy, size in ((-0.07, -0.06, 0.08), (0.07, -0.05, 0.075), (0.0, -0.11, 0.085)):
            canvas.ellipse((x + dx * scale, bottom + dy * scale), size * scale, size * scale, green, domed=True)
    elif kind == 1:
        canvas.capsule((x, bottom - 0.02 * scale), (x, bottom - 0.22 * scale), 0.032 * scale, 0.032 * scale, np.array((206, 178, 60)))
    else:
        frame = Frame(scale, x, bottom - scale, 0.5)
        canvas.loft(frame, [(0.80, 0.10, 0.08), (1.0, 0.10, 0.08)], np.array((166, 128, 88)), flat=0.6)
