"""Which of the many measures of a dropped picture a reader wants first: those that its reason speaks of."""

from collections.abc import Mapping
from typing import Any

from pipeline.distributions import short

Shown = tuple[tuple[str, str], ...]  # (name, value in words)

_SPEAKS_OF = {  # reason of the filter -> beginnings of names of measures
    "blank_image": ("luma_std", "entropy_bits"),
    "grayscale_image": ("colour_variance", "channel_variance"),
    "blurred_image": ("laplacian_variance",),
    "noisy_image": ("noise_sigma",),
    "tiny_file": ("jpeg_bytes_per_px", "encoded_bytes"),
    "no_person": ("num_persons",),
    "several_persons": ("num_persons",),
    "incomplete_body": ("visible_keypoints", "presence_", "visibility_knees", "visibility_ankles"),
    "body_out_of_frame": ("margin_",),
    "not_standing": ("leg_ratio", "head_ratio"),
    "small_person": ("body_share",),
    "small_box": ("box_height_px", "box_width_px"),
    "odd_box": ("box_aspect",),
}


def split_measures(reason: str, measures: Mapping[str, Any]) -> tuple[Shown, Shown]:
    """(measures that `reason` speaks of, all others); the first is empty for a reason that is not of the filter.

    What a pose did not show has no measure, which may be the reason.
    """
    wanted = _SPEAKS_OF.get(reason, ())
    shown = [(name, short(value)) for name, value in measures.items() if isinstance(value, int | float)]
    first = [item for item in shown if item[0].startswith(wanted)] if wanted else []
    others = tuple(item for item in shown if item not in first)
    absent = [start for start in wanted if not any(name.startswith(start) for name, _ in first)]
    return (*first, *((name, "not measurable") for name in absent)), others
