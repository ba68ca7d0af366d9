"""Contact sheets: which pictures of a run are shown, and all that is said about each. Nobody picks: keys are evenly spaced."""

import io
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.stage import Row
from pipeline.demo.flow import attributes_of, read_units
from pipeline.demo.measures import Shown, split_measures
from pipeline.graph import STAGES
from pipeline.paths import INDEX_FILE, RunPaths
from pipeline.pictures import jpeg_url
from pipeline.tables import read_rows
from pipeline.tars import image_extension, read_tar

JPEG_QUALITY = 88
_BRIEF = {" years old": "", " sleeved upper clothes": " sleeves", " upper clothes": " top", " lower clothes": " bottom"}
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One picture of a contact sheet. picture: data URI. stage, reason, deciding and other measures: of dropped ones."""

    key: str
    picture: str = field(repr=False)
    prompt: str
    caption: str = ""
    attributes: tuple[str, ...] = ()
    stage: str = ""
    reason: str = ""
    deciding: Shown = ()
    measures: Shown = ()


def kept_cards(paths: RunPaths, rows: Sequence[Row], space: AttributeSpace, count: int) -> list[Card]:
    """Cards of `count` samples of the final shards; rows: those of `flow.kept_rows`."""
    chosen = {row["key"]: row for row in spread(rows, count)}
    index = {row["key"]: row for row in read_rows(paths.stage("shard") / INDEX_FILE) if row["key"] in chosen}
    return [
        Card(
            key=key,
            picture=data_uri(
                _read_slice(paths.stage("shard") / index[key]["shard"], index[key]["image_offset"], index[key]["image_bytes"])
            ),
            prompt=row.get("prompt") or "",
            caption=row.get("caption") or "",
            attributes=tuple(stated(attributes_of(row), space)),
        )
        for key, row in chosen.items()
    ]


def dropped_cards(paths: RunPaths, per_reason: int) -> list[Card]:
    """Cards of up to `per_reason` samples for each stage and reason, in the order of the stages; samples without a picture are left out."""
    cards = []
    for stage, rows in _dropped(paths):
        groups: dict[str, list[tuple[int, Row]]] = defaultdict(list)
        for unit, row in rows:
            groups[row["reason"]].append((unit, row))
        chosen = [item for reason in sorted(groups) for item in spread(groups[reason], per_reason)]
        pictures = _pictures(paths, _pictures_before(stage), chosen)
        cards += [_dropped_card(stage, row, pictures[row["key"]]) for _, row in chosen if row["key"] in pictures]
    return cards


def _dropped_card(stage: str, row: Row, picture: bytes) -> Card:
    deciding, others = split_measures(row["reason"], row.get("measures") or {})
    return Card(
        key=row["key"],
        picture=data_uri(picture),
        prompt=row.get("prompt") or "",
        caption=row.get("caption") or "",
        stage=stage,
        reason=row["reason"],
        deciding=deciding,
        measures=others,
    )


def _dropped(paths: RunPaths) -> Iterable[tuple[str, list[tuple[int, Row]]]]:
    """(stage, its dropped rows with their units) for stages that had a picture to judge."""
    for spec in STAGES:
        if _pictures_before(spec.name) is None:
            continue
        if spec.kind == "units":
            yield spec.name, [(unit, row) for unit, rows in read_units(paths, spec.name) for row in rows if row["status"] == "dropped"]
        else:
            why = {row["key"]: row["reason"] for row in read_rows(paths.ledger(spec.name, 0)) if row["status"] == "dropped"}
            before = spec.rows_from or ""
            rows = [(unit, row) for unit, rows in read_units(paths, before) for row in rows if row["key"] in why]
            yield spec.name, [(unit, {**row, "reason": why[row["key"]]}) for unit, row in rows]


def _pictures_before(stage: str) -> str | None:
    """The stage whose pictures `stage` works on: the last one before it that writes any."""
    names = [spec.name for spec in STAGES]
    writers = [spec.name for spec in STAGES[: names.index(stage)] if spec.writes_images]
    return writers[-1] if writers else None


def _pictures(paths: RunPaths, stage: str | None, chosen: Sequence[tuple[int, Row]]) -> dict[str, bytes]:
    wanted: dict[int, set[str]] = defaultdict(set)
    for unit, row in chosen:
        wanted[unit].add(row["key"])
    found: dict[str, bytes] = {}
    for unit, keys in wanted.items():
        for member in read_tar(paths.units(stage or "", unit, "tar")):
            key = member.name.partition(".")[0]
            if key in keys:
                found[key] = member.data
    return found


def stated(values: dict[str, Any], space: AttributeSpace) -> list[str]:
    """What is known of a person in a few words each; negated sentences ("does not wear ...") are left out, they are most of the 27."""
    sentences = [a.prompts[values[a.name]] for a in space.attributes if values.get(a.name) in (0, 1)]
    return [_few_words(s) for s in sentences if not re.search(r"\b(not|without)\b", s)]


def _few_words(sentence: str) -> str:
    words = re.sub(r"^the person (is an? |is |wears |with an? |with )?", "", sentence)
    for long, brief in _BRIEF.items():
        words = words.replace(long, brief)
    return words


def spread(items: Sequence[T], count: int) -> list[T]:
    """Up to `count` items, evenly spaced over the sequence."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


def data_uri(picture: bytes) -> str:
    """A picture as it can stand in a page. PNG becomes JPEG, which is a fifth of the size."""
    if image_extension(picture) == "png":
        picture = _to_jpeg(picture)
    return jpeg_url(picture)


def _to_jpeg(picture: bytes) -> bytes:
    from PIL import Image

    packed = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(packed, "JPEG", quality=JPEG_QUALITY)
    return packed.getvalue()


def _read_slice(path: Path, offset: int, length: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(offset)
        return file.read(length)
