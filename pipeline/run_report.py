"""`passerby report RUN`: one static HTML page, pictures inside, of the same size for a thousand samples as for millions."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline import graph
from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import decode_meta
from pipeline.fileio import write_bytes
from pipeline.pages import page_template
from pipeline.paths import INDEX_FILE, MANIFEST_FILE, RunPaths
from pipeline.pictures import UnreadablePictureError, jpeg_url, thumbnail
from pipeline.stats import stats
from pipeline.stats_table import reading
from pipeline.tables import column_names, num_rows, read_rows, rows_at
from pipeline.tars import read_at, read_tar

NUM_DROPPED = 8  # pictures per stage and reason
MAX_UNITS_SEARCHED = 64  # for dropped pictures: rare reasons may show fewer
HEIGHT_PX = 160
_TEMPLATE = Path(__file__).with_name("run_report.html.j2")


def write_report(paths: RunPaths, file: Path, num_samples: int) -> None:
    """Raises ContractError if the folder is no run and holds no shards, ConfigError where jinja2 is not installed."""
    template = page_template(_TEMPLATE)
    page = template.render(
        stats=stats(paths),
        reading=reading,
        settings=paths.config.read_text(encoding="utf-8", errors="replace") if paths.config.exists() else "",  # absent: stages by hand
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        samples=list(kept_samples(paths, num_samples)),
        dropped=list(dropped_pictures(paths)),
    )
    write_bytes(file, page.encode())


def kept_samples(paths: RunPaths, count: int) -> Iterator[dict[str, Any]]:
    """Samples drawn evenly from the whole index, the same for the same run: picture, key, caption, prompt, stated labels."""
    is_shards = (paths.root / MANIFEST_FILE).exists()
    folder = paths.root if is_shards else paths.stage("shard")
    if not (is_shards or paths.done_units("shard")) or not count:
        return
    for row in _drawn(folder / INDEX_FILE, count):
        shard = folder / row["shard"]
        try:
            with shard.open("rb") as tar:
                image = read_at(tar, row["image_offset"], row["image_bytes"])
                meta = decode_meta(read_at(tar, row["meta_offset"], row["meta_bytes"]), f"{shard}, sample {row['key']}")
        except OSError as err:
            raise ContractError(f"{shard} cannot be read ({err.strerror}); `passerby run {paths.typed}` makes it again") from err
        stated = {name: value for name, value in meta.attributes.items() if value != -1}
        yield {"picture": _data_url(image), "key": meta.key, "caption": meta.caption, "prompt": meta.prompt, "stated": stated}


def _drawn(index: Path, count: int) -> list[dict[str, Any]]:
    columns = ("key", "shard", "image_offset", "image_bytes", "meta_offset", "meta_bytes")
    num_samples = num_rows(index)
    chosen = rows_at(index, columns, random.Random(0).sample(range(num_samples), min(count, num_samples)))
    return sorted(chosen, key=lambda row: row["key"])


def dropped_pictures(paths: RunPaths) -> Iterator[dict[str, Any]]:
    """Per stage and reason, up to NUM_DROPPED dropped pictures with what is known of them."""
    for spec in graph.STAGES:
        if spec.images_from is not None and spec.kind == "units":
            found: dict[str, list[dict[str, Any]]] = {}
            for unit in _spread(paths.done_units(spec.name)):
                _collect_dropped(paths, spec.name, spec.images_from, unit, found)
            for reason, pictures in sorted(found.items()):
                yield {"stage": spec.name, "reason": reason, "pictures": pictures}


def _spread(units: list[int]) -> list[int]:
    step = max(len(units) // MAX_UNITS_SEARCHED, 1)
    return units[::step][:MAX_UNITS_SEARCHED]


def _collect_dropped(paths: RunPaths, stage: str, images_from: str, unit: int, found: dict[str, list[dict[str, Any]]]) -> None:
    table, tar = paths.units(stage, unit, "parquet"), paths.units(images_from, unit, "tar")
    wanted = ("key", "status", "reason", "prompt", "caption", "measures")
    rows = read_rows(table, [name for name in wanted if name in column_names(table)])
    few = {row["key"]: row for row in rows if row["status"] == "dropped" and len(found.get(row["reason"], ())) < NUM_DROPPED}
    if not few or not tar.exists():
        return
    for member in read_tar(tar):
        row = few.get(Path(member.name).stem)
        if row is not None and len(shown := found.setdefault(row["reason"], [])) < NUM_DROPPED:
            shown.append({"picture": _data_url(member.data), "key": row["key"], "text": row.get("caption") or row.get("prompt") or ""})


def _data_url(image: bytes) -> str:
    try:
        return jpeg_url(thumbnail(image, HEIGHT_PX))
    except UnreadablePictureError:  # it is shown as missing: lint is the place to complain
        return ""
