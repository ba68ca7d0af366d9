"""What a set of pictures of known persons is worth: whole bodies, garment colours by rule, garments by the judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from generation.backends.pose import PoseDetector
from generation.embedded.colour_rule import garment_colours
from generation.embedded.judge import COLUMNS, QUESTIONS, answers
from generation.embedded.render.labels import labels27
from generation.embedded.render.palette import LOWER_COLORS, UPPER_COLORS
from generation.embedded.render.person import Person
from generation.filter_decision import Thresholds, decide
from generation.image_measures import measure_image
from generation.pose_measures import measure_persons


@dataclass(frozen=True)
class Verdict:
    """One picture: the filter's reason (None: kept) and the colour rule's names (None where nobody was found)."""

    reason: str | None
    upper: str | None
    lower: str | None


def judge_picture(image: np.ndarray, detector: PoseDetector) -> Verdict:
    """image: (H, W, 3) uint8 RGB. The filter's own measures and default thresholds."""
    persons = detector.detect(image)
    height, width = image.shape[:2]
    reason = decide({**measure_image(image, encoded_bytes=0), **measure_persons(persons, width, height)}, Thresholds())
    if not persons:
        return Verdict(reason, None, None)
    return Verdict(reason, *garment_colours(image, persons[0][:, :2], UPPER_COLORS, LOWER_COLORS))


def measure_pictures(images: Sequence[np.ndarray], persons: Sequence[Person], pose_model: Path, judge: nn.Module) -> dict[str, Any]:
    """Shares of pictures that are right. Colours and garments are counted over the pictures that the filter keeps, and over all
    (`*_of_all`: a picture without a whole person counts as wrong for colours)."""
    detector = PoseDetector(pose_model)
    verdicts = [judge_picture(image, detector) for image in images]
    detector.close()
    kept = np.array([v.reason is None for v in verdicts])
    upper = np.array([v.upper == p.upper_color for v, p in zip(verdicts, persons, strict=True)])
    lower = np.array([v.lower == p.lower_color for v, p in zip(verdicts, persons, strict=True)])
    truth = np.array([[labels27(p)[c] for c in COLUMNS] for p in persons])
    right = answers(judge, list(images)) == truth
    reasons = sorted({v.reason for v in verdicts if v.reason})
    return {
        "pictures": len(images),
        "whole_body": _share(kept),
        "dropped": {reason: sum(v.reason == reason for v in verdicts) for reason in reasons},
        "upper_colour": _share(upper[kept]),
        "lower_colour": _share(lower[kept]),
        "upper_colour_of_all": _share(upper),
        "lower_colour_of_all": _share(lower),
        **{f"judge_{name}": _share(right[kept, i]) for i, name in enumerate(QUESTIONS)},
        **{f"judge_{name}_of_all": _share(right[:, i]) for i, name in enumerate(QUESTIONS)},
    }


def _share(flags: np.ndarray) -> float:
    return round(float(flags.mean()), 4) if len(flags) else 0.0
