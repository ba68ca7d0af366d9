"""Does KEY.json hold what pipeline.contracts.sample says? Apart from its types, which are checked where it is decoded."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from pipeline.contracts.attributes import MISSING, AttributeSpace
from pipeline.contracts.sample import SampleMeta, half_character

NUM_NAMED = 5  # keys that one finding names at most
PID_LIMIT = 2**48  # persons of several shard sets are told apart by a multiple of it
SEED_LIMIT = 2**63  # of what pipeline.seeds derives
_FLOATS = ("measures", "generator", "captioner")


def meta_problems(sample: SampleMeta, space: AttributeSpace) -> Iterator[str]:
    """What is wrong with a sample's own fields. Raises ContractError if it has not one label for each attribute of the space."""
    if not sample.caption.strip():
        yield "its caption is empty"
    elif sample.captions[:1] != [sample.caption]:
        yield "captions does not begin with caption"
    yield from _caption_problems(sample.captions)
    yield from _origin_problems(sample)
    if type(sample.pid) is not int or abs(sample.pid) >= PID_LIMIT:
        yield f"pid {sample.pid!r}; accepted: a whole number below 2**48"
    labels = space.to_named(sample.labels)
    if outside := {name: value for name, value in labels.items() if type(value) is not int or value not in (0, 1, MISSING)}:
        yield f"labels out of range: {outside}; accepted: 0, 1, -1"
    elif labels != sample.attributes or any(type(value) is not int for value in sample.attributes.values()):
        yield "labels and named attributes differ"
    if numbers := [said for name in _FLOATS for said in _not_finite(getattr(sample, name), name)]:
        yield f"{named(numbers)}: not finite, which JSON does not know; readers other than Python's refuse the whole file"


def _caption_problems(captions: Sequence[Any]) -> Iterator[str]:
    """A training may take any of them."""
    for number, caption in enumerate(captions, 1):
        if not isinstance(caption, str) or (number > 1 and not caption.strip()):
            yield f"caption {number} of captions is {caption!r}; accepted: text with a word"
        elif half_character(caption) is not None:
            yield f"caption {number} of captions holds half a character (a lone surrogate), which cannot be written as UTF-8"


def _origin_problems(sample: SampleMeta) -> Iterator[str]:
    """How it was made. The prompt may be empty: that of an imported picture is not known, its models are named all the same."""
    if type(sample.seed) is not int or not 0 <= sample.seed < SEED_LIMIT:
        yield f"seed {sample.seed!r}; accepted: a whole number from 0 to below 2**63"
    crop = sample.crop_xyxy_px
    if [type(value) for value in crop] != [int] * 4 or crop[0] >= crop[2] or crop[1] >= crop[3]:
        yield f"crop_xyxy_px {crop}; accepted: four whole numbers x0, y0, x1, y1 with x0 < x1 and y0 < y1"
    if sample.view is not None and not isinstance(sample.view, str):
        yield f"view {sample.view!r}; accepted: text or null"
    for name in ("generator", "captioner"):
        if not isinstance(model := getattr(sample, name).get("model"), str) or not model.strip():
            yield f"{name} names no model"


def _not_finite(value: Any, name: str) -> Iterator[str]:
    """The names of numbers in a JSON value that are NaN or infinite, with their values."""
    if isinstance(value, float) and not math.isfinite(value):
        yield f"{name} {value}"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from _not_finite(inner, f"{name} {number}")


def named(items: Sequence[str]) -> str:
    more = f" and {len(items) - NUM_NAMED} more" if len(items) > NUM_NAMED else ""
    return ", ".join(items[:NUM_NAMED]) + more
