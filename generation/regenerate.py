"""`regenerate`: one picture of a run again, from its key, compared with the stored one where that is still there."""

from dataclasses import replace
from typing import Any

import numpy as np

from generation.config import GenerationConfig
from generation.generate import GenerateStage
from generation.images import decode_rgb
from generation.prompts import image_items, read_prompt_rows
from generation.run_size import place_of
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.stage import Fail, Item, Keep, Row
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from pipeline.tars import read_tar


def regenerate(config: GenerationConfig, key: str, alone: bool) -> tuple[bytes, dict[str, Any]]:
    """(PNG bytes, report) of the picture `key`.

    alone: make only this picture; otherwise the whole batch that it was made in, which gives the same bytes on the same hardware and
    software. Report: key, prompt, seed, generator; identical (None without a stored picture); max_difference and mean_difference in
    grey levels; differing: what the stored row says of the model that is not so now.

    Raises ConfigError for a key that is not of this run, that the safety checker drops or that is not finite, ContractError if the run
    has no prompt table.
    """
    paths = RunPaths(config.run.path)
    batch, unit = batch_of(config, paths, key)
    stored_row = _stored_row(paths, key, unit)
    size = 1 if alone else (stored_row.get("batch") or {}).get("size", config.generate.batch_size)
    stage = GenerateStage(replace(config.generate, batch_size=size), config.run.seed)
    stage.setup()
    try:
        items = [item for item in batch if item.key == key] if alone else batch
        outcomes = dict(zip((item.key for item in items), stage.process(items), strict=True))
    finally:
        stage.teardown()
    made = outcomes[key]
    if isinstance(made, Fail):
        raise ConfigError(f"{key}: {made.detail}")
    if not isinstance(made, Keep) or made.image is None:
        raise ConfigError(f"{key} was dropped by the model's safety checker; generate.safety_checker=false makes it visible")
    report: dict[str, Any] = {"key": key, "prompt": next(i for i in batch if i.key == key).row["prompt"], **made.row}
    return made.image, report | _comparison(made.image, made.row, _stored_image(paths, key, unit), stored_row)


def batch_of(config: GenerationConfig, paths: RunPaths, key: str) -> tuple[list[Item], int]:
    """The items of the batch in which `key` was made, and the unit."""
    prompts = read_prompt_rows(paths)
    unit, place = place_of(config, len(prompts), key)
    items = image_items(prompts, unit, config.run.unit_size, config.prompts.variants)
    drawn = _stored_row(paths, key, unit).get("batch")
    if drawn:  # what stands in config.yaml may be another size now, and memory may have halved it then
        return items[place - drawn["place"] :][: drawn["count"]], unit
    size = GenerateStage(config.generate, config.run.seed).batch_size
    first = place - place % size
    return items[first : first + size], unit


def to_lines(report: dict[str, Any], file: str) -> list[str]:
    """The report for people."""
    lines = [f"{file}: {report['key']}, seed {report['seed']}: {report['prompt']}"]
    if report["identical"] is None:
        return [*lines, "  the run holds no stored picture of this key to compare with"]
    if report["identical"]:
        return [*lines, "  byte for byte the stored picture"]
    lines += [f"  {name} was {was!r}, is {now!r}" for name, (was, now) in report["differing"].items()]
    if report["max_difference"] is None:
        return [*lines, "  another size than the stored picture"]
    why = "" if report["differing"] else "; same model and settings, so batch, threads, hardware or library versions differ"
    amount = f"at most {report['max_difference']} grey levels, {report['mean_difference']} on average"
    return [*lines, f"  differs from the stored picture by {amount}{why}"]


def _stored_row(paths: RunPaths, key: str, unit: int) -> Row:
    """{} where there is none."""
    table = paths.units("generate", unit, "parquet")
    return next((row for row in read_rows(table) if row["key"] == key), {}) if table.exists() else {}


def _stored_image(paths: RunPaths, key: str, unit: int) -> bytes | None:
    tar = paths.units("generate", unit, "tar")
    return next((member.data for member in read_tar(tar) if member.name.startswith(f"{key}.")), None) if tar.exists() else None


def _said(row: Row) -> Row:
    """What a row says of how its picture was made; that of a failed one says nothing."""
    return (row.get("generator") or {}) | ({"batch": row["batch"]} if row.get("batch") else {})


def _comparison(image: bytes, row: Row, stored: bytes | None, stored_row: Row) -> dict[str, Any]:
    was, now = _said(stored_row), _said(row)
    differing = {name: [was.get(name), now.get(name)] for name in sorted({*was, *now}) if was.get(name) != now.get(name)} if was else {}
    if stored is None:
        return {"identical": None, "max_difference": None, "mean_difference": None, "differing": differing}
    one, other = decode_rgb(image).astype(int), decode_rgb(stored).astype(int)
    difference = np.abs(one - other) if one.shape == other.shape else None
    return {
        "identical": image == stored,
        "max_difference": None if difference is None else int(difference.max()),
        "mean_difference": None if difference is None else round(float(difference.mean()), 4),
        "differing": differing,
    }
