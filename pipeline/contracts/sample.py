"""The sample as it stands in the final shards: KEY.jpg + KEY.json.

Written by `generation.shard`, read by `pretrain.data`, `passerby lint`, exports. Bump SCHEMA_VERSION on every change of a field.
"""

import json
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pipeline.contracts.errors import ContractError

SCHEMA_VERSION = 1
KEY_PATTERN = re.compile(r"[0-9]{9}_[0-9]{2}")  # fixed width, sorts, no dot: WebDataset splits names at the first dot
IMAGE_EXTENSION, META_EXTENSION = "jpg", "json"
SHARD_PATTERN = re.compile(r"[\w.-]*\w\.tar", re.ASCII)  # a plain name: an index from elsewhere must not lead out of its folder
_HALF = re.compile("[\ud800-\udfff]")


def half_character(text: str) -> int | None:
    """Place of the first half of a surrogate pair, which JSON can hold ("\\ud83d" of a cut emoji) and UTF-8 cannot; else None."""
    found = _HALF.search(text)
    return found.start() if found else None


def make_key(prompt_index: int, variant: int) -> str:
    """Identity of an image through every stage. Raises ContractError if an index does not fit the fixed width."""
    if not (0 <= prompt_index < 10**9 and 0 <= variant < 100):
        raise ContractError(f"prompt_index {prompt_index} or variant {variant} out of range; accepted: 0..999999999 and 0..99")
    return f"{prompt_index:09d}_{variant:02d}"


def parse_key(key: str) -> tuple[int, int]:
    """Inverse of make_key."""
    if not KEY_PATTERN.fullmatch(key):
        raise ContractError(f"key {key!r} is not of the form 000000123_00")
    return int(key[:9]), int(key[10:])


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMeta:
    """KEY.json. Field order is the order on disk."""

    key: str
    caption: str
    captions: list[str]  # caption first, further accepted captions after it
    prompt: str
    attributes: dict[str, int]  # name -> 0 | 1 | -1 (not stated)
    labels: list[int]  # the same values in the order of the attribute space
    pid: int  # person identity; images of one prompt share it
    view: str | None  # "front" | "side" | "back" where known
    seed: int
    crop_xyxy_px: list[int]  # in the generated picture, x1 and y1 exclusive; may reach outside it (padded with the edge colour)
    measures: dict[str, float]
    generator: dict[str, Any]  # model, weights_sha256, scheduler, steps, guidance, size
    captioner: dict[str, Any]  # model, weights_sha256
    licence: str
    source: str  # where the prompt came from
    schema: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True)
class Sample:
    """One image with all that is known of it. image: JPEG bytes."""

    meta: SampleMeta
    image: bytes = field(repr=False)


_FIELDS = frozenset(f.name for f in fields(SampleMeta))
_KINDS: dict[str, type] = {
    **dict.fromkeys(("key", "caption", "prompt", "licence", "source"), str),
    **dict.fromkeys(("captions", "labels", "crop_xyxy_px"), list),
    "pid": int,
    **dict.fromkeys(("attributes", "measures", "generator", "captioner"), dict),
}


def encode_meta(meta: SampleMeta) -> bytes:
    """Stable UTF-8 JSON bytes (no spaces, field order of the dataclass)."""
    return json.dumps(asdict(meta), ensure_ascii=False, separators=(",", ":")).encode()


def decode_meta(data: bytes, where: str) -> SampleMeta:
    """Inverse of encode_meta. Raises ContractError naming `where` for bad JSON, another schema, a missing field or one of another type."""
    try:
        values = json.loads(data)
    except ValueError as err:
        raise ContractError(f"{where}: not JSON ({err})") from err
    if not isinstance(values, dict) or values.get("schema") != SCHEMA_VERSION:
        found = values.get("schema") if isinstance(values, dict) else type(values).__name__
        raise ContractError(
            f"{where}: schema {found!r}, this version reads {SCHEMA_VERSION}; make the shards again or use the matching release"
        )
    if missing := sorted(_FIELDS - values.keys()):
        raise ContractError(f"{where}: fields missing: {', '.join(missing)}")
    for name, kind in _KINDS.items():
        if not isinstance(values[name], kind):
            raise ContractError(f"{where}: {name} is a {type(values[name]).__name__}; accepted: {kind.__name__}")
    return SampleMeta(**{name: values[name] for name in _FIELDS})


INDEX_COLUMNS = ("key", "split", "shard", "image_offset", "image_bytes", "meta_offset", "meta_bytes", "sha256")
"""runs/NAME/shards/index.parquet: offsets and lengths of the two members' contents inside the tar; sha256 over image then meta bytes."""
