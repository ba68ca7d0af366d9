"""One picture of one person in the making: the pose, the frame, the exact shades and the queued paint jobs."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from generation.embedded.render.palette import ACCENTS, SKIN_TONES, sample_rgb
from generation.embedded.render.person import Person
from generation.embedded.render.pose import Pose
from generation.embedded.render.raster import Canvas, Frame


@dataclass(slots=True)
class Figure:
    """Everything the paint jobs of one picture share; `jobs` are (depth, paint) and are run from far to near."""

    person: Person
    pose: Pose
    frame: Frame
    look: np.random.Generator
    upper: np.ndarray
    lower: np.ndarray
    skin: np.ndarray
    jobs: list[tuple[float, Callable[[Canvas], None]]] = field(default_factory=list)

    def add(self, depth: float, paint: Callable[[Canvas], None]) -> None:
        """Queue a paint job; depth is in body units towards the viewer."""
        self.jobs.append((depth, paint))

    def at(self, point: tuple) -> tuple[float, float, float]:
        """Body point -> (x px, y px, depth)."""
        return self.frame.project(*point)

    def paint(self, canvas: Canvas) -> None:
        """Run the queued jobs, far ones first."""
        for _, job in sorted(self.jobs, key=lambda item: item[0]):
            job(canvas)


def make_figure(person: Person, pose: Pose, frame: Frame) -> Figure:
    """A figure with its exact shades; they come from `person.look`, so a person keeps the clothes in every picture."""
    look = np.random.default_rng(person.look)
    upper = sample_rgb(person.upper_color, look)
    lower = upper if person.lower_type == "dress" else sample_rgb(person.lower_color, look)
    return Figure(person, pose, frame, look, upper, lower, np.asarray(SKIN_TONES[person.skin], np.float32))


def accent(figure: Figure, avoid: tuple[str, ...], names: tuple[str, ...] = ACCENTS) -> np.ndarray:
    """A colour of the person's own for an accessory, unlike the clothes it lies on."""
    free = [name for name in names if name not in avoid]
    return sample_rgb(free[int(figure.look.integers(len(free)))], figure.look)
