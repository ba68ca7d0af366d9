"""Persons to measure: a drawn figure, and key points made up."""

import numpy as np

from generation.images import Image


def figure(seed: int = 0, view: str = "front") -> Image:
    from generation.embedded.render.person import sample_person  # not for the pose workers, which start in no time
    from generation.embedded.render.scene import render_person

    rng = np.random.default_rng(seed)
    return render_person(sample_person(rng), rng, view=view).image


def standing(height: int = 100, left: float = 50.0) -> np.ndarray:
    """A made-up person with all points present and visible, head to ankles `height` px, in a 200x100 (HxW) picture."""
    person = np.ones((33, 4), np.float32)
    person[:, 0] = left
    for point, share in {0: 0.0, 11: 0.12, 12: 0.12, 23: 0.45, 24: 0.45, 25: 0.72, 26: 0.72, 27: 1.0, 28: 1.0}.items():
        person[point, 1] = 40 + share * height
    person[11, 0], person[12, 0] = left + 10, left - 10
    return person


def grainy(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """With Gaussian noise of so many grey levels."""
    return np.clip(image + rng.normal(0, sigma, image.shape), 0, 255).astype(np.uint8)


def salted(image: Image, share: float, rng: np.random.Generator) -> Image:
    """With so many pixels white or black."""
    drawn = rng.random(image.shape[:2])[..., None]
    return np.where(drawn < share / 2, 0, np.where(drawn < share, 255, image)).astype(np.uint8)
