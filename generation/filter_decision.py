"""Measures -> keep, or the one reason to drop. Pure: changing a threshold re-decides from stored measures, without opening a picture.

Every default was set between what must pass and what must not, on published examples of kept and rejected pictures (figures of MALS), on
750 renders of whole people and on 360 of failures; the numbers in the comments are measured there. Where both sides lie far apart the
threshold stays close to the bad side: a dropped good picture costs a generation, a kept bad one is still seen by the later gates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from pipeline.contracts.errors import ConfigError
from pipeline.ranges import COUNT, SHARE, Range, check_ranges

REASONS = (
    "blank_image",
    "grayscale_image",
    "blurred_image",
    "noisy_image",
    "tiny_file",
    "no_person",
    "several_persons",
    "incomplete_body",
    "body_out_of_frame",
    "not_standing",
    "small_person",
    "small_box",
    "odd_box",
)


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Limits of the measures (`image_measures`, `pose_measures`). A value of None switches a rule off where None is allowed."""

    min_luma_std: float = 4.0  # blank pictures 0-0.3; the flattest background without a person 5
    min_entropy_bits: float = 1.5  # blank pictures 0-0.4; the plainest render 5.1
    min_colour_variance: float = 10.0  # grey photographs 2-3, toned ones 0-16; kept photographs 190 and more, renders 13 and more
    min_laplacian_variance: float = 6.0  # blurred by 2.2 % of the height at most 2; by 0.5 % (1.2 px of 256) still 12 and more
    max_noise_sigma: float | None = 8.0  # kept photographs 0.3-3.1; noise of 20 grey levels 12, salt and pepper of 5 % 18 and more
    min_jpeg_bytes_per_px: float = 0.08  # blank 0.03; blurred renders 0.12; kept pictures 0.2-0.6. Replaces the "24 KB" of the literature
    max_persons: int = 1  # bystanders lower than 40 % of the main person are not counted
    min_visible_keypoints: int = 13  # of 33. Backs and profiles hide a face and an arm: whole bodies 16 and more, busts 12-17
    min_presence: float = (
        0.5  # nose, shoulders, hips, knees, ankles inside the picture: cut bodies 0.0-0.5 at the cut, whole ones 0.56 and more
    )
    min_leg_visibility: float = 0.25  # the better knee and the better ankle: whole bodies 0.3 and more, cut or guessed legs 0.00-0.23
    min_margin: float = -0.01  # sides and bottom, of width or height: feet and hands may touch the frame
    min_margin_top: float = 0.03  # nose below the upper edge, of height: less leaves no room for the head. Whole bodies 0.09 and more
    min_leg_ratio: float = 0.95  # standing 1.1-2.1 (squat generated figures 1.2); kneeling and sitting 0.3-0.9; found upside down: negative
    max_leg_ratio: float = 3.5  # torso seen as a sliver: a pose that folded onto itself
    min_head_ratio: float = 0.1  # nose above the shoulders: 0.24-0.56 standing; bent over or lying below
    min_body_share: float = 0.4  # nose to ankles; renders 0.48 and more, a distant figure leaves too few pixels for clothes
    min_box_height_px: float = 48.0  # of the key points, unpadded: below it a garment is a few pixels; embedded pictures show 80 and more
    min_box_width_px: float = 12.0  # whole renders of 256x128: 45-80
    min_box_aspect: float = 0.12  # width / height: whole renders 0.22-0.38; a sliver is a pose that folded onto itself
    min_measures: dict[str, float] = field(default_factory=dict)  # of filter.plugins, by name: what is lower is dropped as low_NAME
    max_box_aspect: float = 0.75  # spread arms or a long step; above it the body lies or two bodies were joined

    def __post_init__(self) -> None:
        section = "filter.thresholds"
        check_ranges(section, self, min_presence=SHARE, min_leg_visibility=SHARE, min_body_share=SHARE)
        check_ranges(section, self, max_persons=COUNT, min_visible_keypoints=Range(0, 33))
        if not 0 <= self.min_box_aspect < self.max_box_aspect:
            raise ConfigError(f"filter.thresholds: min_box_aspect={self.min_box_aspect} is not below max_box_aspect={self.max_box_aspect}")
        if self.min_leg_ratio >= self.max_leg_ratio:
            raise ConfigError(f"filter.thresholds: min_leg_ratio={self.min_leg_ratio} is not below max_leg_ratio={self.max_leg_ratio}")


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a picture is dropped: the measure that decided, its value (None: it could not be taken), and the limit that it broke.

    setting: the limit's name in the recipe; None, as the limit, for what no setting changes.
    """

    reason: str
    measure: str
    value: float | None
    setting: str | None = None
    limit: float | None = None


_Rule = tuple[str, str, tuple[str, ...]]  # reason, limit, measures: none of them may lie beyond it
_PARTS = ("nose", "shoulders", "hips", "knees", "ankles")
_IMAGE_RULES: tuple[_Rule, ...] = (  # cheap checks that need no pose
    ("blank_image", "min_luma_std", ("luma_std",)),
    ("blank_image", "min_entropy_bits", ("entropy_bits",)),
    ("grayscale_image", "min_colour_variance", ("colour_variance",)),
    ("blurred_image", "min_laplacian_variance", ("laplacian_variance",)),
    ("noisy_image", "max_noise_sigma", ("noise_sigma",)),
    ("tiny_file", "min_jpeg_bytes_per_px", ("jpeg_bytes_per_px",)),
)
_BODY_RULES: tuple[_Rule, ...] = (  # one person, whole, inside the frame
    ("several_persons", "max_persons", ("num_persons",)),
    ("incomplete_body", "min_visible_keypoints", ("visible_keypoints",)),
    ("incomplete_body", "min_presence", tuple(f"presence_{part}" for part in _PARTS)),
    ("incomplete_body", "min_leg_visibility", ("visibility_knees", "visibility_ankles")),
    ("body_out_of_frame", "min_margin", ("margin_bottom", "margin_left", "margin_right")),
    ("body_out_of_frame", "min_margin_top", ("margin_top",)),
)
_STANCE_RULES: tuple[_Rule, ...] = (  # standing, tall enough; the box around the key points, unpadded, has pixels for clothes
    ("not_standing", "min_head_ratio", ("head_ratio",)),
    ("not_standing", "min_leg_ratio", ("leg_ratio",)),
    ("not_standing", "max_leg_ratio", ("leg_ratio",)),
    ("small_person", "min_body_share", ("body_share",)),
    ("small_box", "min_box_height_px", ("box_height_px",)),
    ("small_box", "min_box_width_px", ("box_width_px",)),
    ("odd_box", "min_box_aspect", ("box_aspect",)),
    ("odd_box", "max_box_aspect", ("box_aspect",)),
)


def decide(measures: Mapping[str, float], thresholds: Thresholds) -> str | None:
    """Reason to drop (one of REASONS, or low_NAME of a plug-in) or None to keep, from all measures of a picture together."""
    found = finding(measures, thresholds)
    return found.reason if found else None


def finding(measures: Mapping[str, float], thresholds: Thresholds) -> Finding | None:
    """The first rule that a picture breaks: of its pixels, of its pose, of the plug-ins."""
    return _broken(_IMAGE_RULES, measures, thresholds) or _pose_finding(measures, thresholds) or plugin_finding(measures, thresholds)


def _pose_finding(measures: Mapping[str, float], thresholds: Thresholds) -> Finding | None:
    if measures["num_persons"] == 0:
        return Finding("no_person", "num_persons", 0)
    if found := _broken(_BODY_RULES, measures, thresholds):
        return found
    if "leg_ratio" not in measures:  # the torso is flat or upside down
        return Finding("not_standing", "leg_ratio", None)
    return _broken(_STANCE_RULES, measures, thresholds)


def plugin_finding(measures: Mapping[str, float], thresholds: Thresholds) -> Finding | None:
    """What was not measured (a picture without a prompt) is not judged."""
    for name, limit in thresholds.min_measures.items():
        if name in measures and not measures[name] >= limit:
            return Finding(f"low_{name}", name, measures[name], f"filter.thresholds.min_measures.{name}", limit)
    return None


def _broken(rules: tuple[_Rule, ...], measures: Mapping[str, float], thresholds: Thresholds) -> Finding | None:
    """The first rule that is broken, with the measure that breaks it most."""
    for reason, name, names in rules:
        limit = getattr(thresholds, name)
        if limit is None:
            continue
        is_least = name[:3] == "min"
        worst = names[0] if len(names) == 1 else (min if is_least else max)(names, key=measures.__getitem__)
        value = measures[worst]
        if not (value >= limit if is_least else value <= limit):
            return Finding(reason, worst, value, f"filter.thresholds.{name}", limit)
    return None
