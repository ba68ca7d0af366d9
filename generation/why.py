"""`why`: what became of one picture of a run, stage by stage, and what decided it, from the tables of its unit.

A row holds all that earlier stages wrote about its key, so the newest table that has the key is enough; no picture is opened.
"""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from generation.config import GenerationConfig
from generation.filter_decision import finding
from generation.run_size import place_of
from generation.stages import STAGES, UNIT_STAGES
from pipeline.completion import read_record
from pipeline.contracts.attributes import LOWER_COLOURS, MISSING, PERSON_27, UPPER_COLOURS
from pipeline.contracts.errors import ContractError
from pipeline.contracts.stage import Row
from pipeline.distributions import short
from pipeline.paths import INDEX_FILE, RunPaths
from pipeline.tables import StoredRows, column_names, read_columns, rows_with

_GATE = {  # reason of the caption stage: the field of `caption` that sets its limit
    "caption_cut": "max_new_tokens",
    "caption_short": "min_words",
    "caption_loop": "max_loop_repeats",
    "caption_no_clothing": "require_clothing",
    "invalid_answers": "require_answers",
}
_TOLD = {  # stage: the columns that say where a sample comes from, and what was made of it
    "prompts": ("prompt", "source", "licence", "pid"),
    "generate": ("seed", "generator"),
    "filter": ("measures",),
    "recrop": ("crop_xyxy_px",),
    "caption": ("caption", "caption_candidates", "answers", "answers_problem", "captioner"),
    "annotate": ("attributes", "label_conflicts"),
}
_WIDTH = 110  # of the lines of measures


def why(config: GenerationConfig, key: str) -> dict[str, Any]:
    """run, key, unit, and a list of stages in the order of the flow, which ends where the picture does.

    Of a stage: stage; status: kept, dropped, failed, or "not made yet"; reason; measure, value, setting and limit of what decided, as far
    as there is such; the columns of _TOLD, `labels_from` of annotate, and of shard split and shard, or the key that it `repeats`.

    Raises ConfigError for a key that is not of this run, ContractError if the run has no prompts yet.
    """
    paths = RunPaths(config.run.path)
    prompts = read_record(paths, "prompts", 0)
    if prompts is None:
        raise ContractError(f"{paths.root} has no prompts yet; `passerby run {paths.typed}` makes them")
    unit, _ = place_of(config, prompts.counts.seen, key)
    reached, row = _newest(paths, unit, key)
    stages = []
    for name in list(STAGES)[: list(STAGES).index(reached) + 1]:
        status = {"status": row["status"], "reason": row["reason"]} if name == reached else {"status": "kept", "reason": None}
        told = {column: row[column] for column in _TOLD[name] if row.get(column) is not None}
        told |= {"labels_from": _labels_from(config, row)} if name == "annotate" else {}
        stages.append({"stage": name, **status, **_decided(name, status["reason"], row, config), **told})
    if row["status"] == "kept":
        stages.append(_shard(config, paths, key) if reached == UNIT_STAGES[-1] else _missing(list(STAGES)[len(stages)]))
    return {"run": str(paths.root), "key": key, "unit": unit, "stages": stages}


def _newest(paths: RunPaths, unit: int, key: str) -> tuple[str, Row]:
    """The last stage that has seen the picture, and its row."""
    for name in reversed(UNIT_STAGES):
        table = paths.units(name, unit, "parquet")
        if not (paths.done(name, unit).exists() and table.exists()):
            continue
        keys = read_columns(table, ["key"])["key"]
        if key in keys:
            return name, StoredRows(table)[keys.index(key)]
    columns = ("key", "status", "reason", *_TOLD["prompts"])
    return "prompts", rows_with(paths.units("prompts", 0, "parquet"), "key", f"{key[:9]}_00", columns)[0]


def _decided(stage: str, reason: str | None, row: Row, config: GenerationConfig) -> dict[str, Any]:
    """measure, value, setting and limit behind a reason, as far as there are such."""
    if stage == "filter" and row.get("measures"):
        found = finding(row["measures"], config.filter.thresholds)
        if found and found.reason == reason:  # else the thresholds are not those of this row: a redecide that was killed
            return {"measure": found.measure, "value": found.value, "setting": found.setting, "limit": found.limit}
    if reason == "small_crop":
        top, bottom = row["crop_xyxy_px"][1::2]
        return {"measure": "crop_height_px", "value": bottom - top, "setting": "recrop.min_height_px", "limit": config.recrop.min_height_px}
    if stage == "caption" and reason in _GATE:
        measured = {"measure": "words", "value": len(row["caption"].split())} if reason == "caption_short" else {}
        return {**measured, "setting": f"caption.{_GATE[reason]}", "limit": getattr(config.caption, _GATE[reason])}
    return {}


def _labels_from(config: GenerationConfig, row: Row) -> str:
    text = config.annotate.text
    return text if row.get("answers") is None else f"{text} and the model's answers (annotate.precedence {config.annotate.precedence})"


def _shard(config: GenerationConfig, paths: RunPaths, key: str) -> dict[str, Any]:
    ledger = paths.ledger("shard", 0)
    if read_record(paths, "shard", 0) is None:
        return _missing("shard")
    columns = [name for name in column_names(ledger) if name in ("key", "status", "reason", "repeats")]
    for row in rows_with(ledger, "key", key, columns):
        told = {"stage": "shard", "status": row["status"], "reason": row["reason"]}
        if row["status"] == "kept":
            (place,) = rows_with(paths.stage("shard") / INDEX_FILE, "key", key, ("key", "split", "shard"))
            return told | {"split": place["split"], "shard": place["shard"]}
        return told | {"repeats": row.get("repeats"), "setting": "shard.max_hash_distance", "limit": config.shard.max_hash_distance}
    return _missing("shard")  # they are older than the unit


def _missing(stage: str) -> dict[str, Any]:
    return {"stage": stage, "status": "not made yet", "reason": None}


def to_lines(answer: dict[str, Any]) -> Iterator[str]:
    """The answer for people."""
    yield f"{answer['run']}: {answer['key']}, unit {answer['unit']}"
    for stage in answer["stages"]:
        verdict = stage["status"] if stage["reason"] is None else f"{stage['status']}, {stage['reason']}: {_limit(stage)}".rstrip(": ")
        yield f"  {stage['stage']:<9} {verdict}"
        yield from (f"            {line}" for line in _details(stage))
    if stage["status"] == "failed":
        yield f"            what was wrong: grep -r {answer['key']} {answer['run']}/logs"


def _limit(stage: dict[str, Any]) -> str:
    """small_person's `body_share 0.62, filter.thresholds.min_body_share 0.7`."""
    measured = [f"{stage['measure']} {'not measurable' if stage['value'] is None else stage['value']}"] if "measure" in stage else []
    return ", ".join([*measured, *([f"{stage['setting']} {stage['limit']}"] if stage.get("setting") else [])])


def _stated(labels: Mapping[str, int]) -> Iterator[str]:
    """In words, as 0 of a hat means that there is one. Of a colour group those that are not worn go without saying."""
    colours = {f"{part}_{colour}" for part, group in (("upper", UPPER_COLOURS), ("lower", LOWER_COLOURS)) for colour in group}
    for attribute in PERSON_27.attributes:
        label = labels[attribute.name]
        if label != MISSING and not (label == 1 and attribute.name in colours):
            yield attribute.meanings[label]


def _details(stage: dict[str, Any]) -> Iterator[str]:
    known = {name: stage[name] for name in stage if stage[name] is not None}
    if "prompt" in known:
        yield f"{known['prompt']!r}, from {known['source']}, licence {known['licence']}, person {known['pid']}"
    if "generator" in known:
        yield f"{known['generator'].get('model')}, seed {known['seed']}"
    if "measures" in known:
        measured = ", ".join(f"{name} {'-' if value is None else short(value)}" for name, value in known["measures"].items())
        yield from textwrap.wrap(measured, _WIDTH)
    if "crop_xyxy_px" in known:
        yield f"box {known['crop_xyxy_px']} px of the generated picture"
    for candidate in known.get("caption_candidates", ()):
        score = "" if candidate["score"] is None else f" (score {candidate['score']})"
        yield f"{candidate['text']!r}{score}{': ' + candidate['reason'] if candidate['reason'] else ''}"
    if "answers_problem" in known:
        yield f"answers: {known['answers_problem']}"
    if "attributes" in known:
        yield f"from {known['labels_from']}: {', '.join(_stated(known['attributes'])) or 'nothing stated'}"
    if "label_conflicts" in known:
        yield f"text and answers differ on: {', '.join(known['label_conflicts']) or 'nothing'}"
    if "split" in known:
        yield f"{known['split']}, {known['shard']}"
    if stage["reason"] == "near_duplicate":
        yield f"of {known.get('repeats', 'an earlier key')}"
