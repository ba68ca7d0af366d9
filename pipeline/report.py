"""Tables of plan and status for a terminal, and their JSON."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.describe import RunPlan
from pipeline.lock import is_locked
from pipeline.progress import clock
from pipeline.survey import StageSurvey, to_json

TOP_REASONS = 3
_NO_LIMIT = 10_000  # columns
_WORDS = ("stage", "device", "top reasons", "attribute", "measure", "0 means", "1 means")  # columns that stand to the left
_NAMES = ("attribute", "measure")  # a name that is cut off names nothing


def plan_json(plan: RunPlan, stages: Sequence[StageSurvey]) -> dict[str, Any]:
    """What `plan --json` prints. estimated_seconds: of one worker, for the missing units; null where nothing is known."""
    rows = [to_json(stage) for stage in stages]
    keys = ("stage", "kind", "resource", "units", "done", "missing", "stale", "foreign", "estimated_seconds")
    return {
        "run": str(plan.paths.root),
        "num_units": plan.num_units,
        "num_images": plan.num_images,
        "stages": [{key: row[key] for key in keys} for row in rows],
    }


def status_json(plan: RunPlan, stages: Sequence[StageSurvey]) -> dict[str, Any]:
    """What `status --json` prints. running: whether a `passerby run` holds the run's lock now."""
    return {"run": str(plan.paths.root), "running": is_locked(plan.paths), "stages": [to_json(stage) for stage in stages]}


def print_plan(answer: dict[str, Any]) -> None:
    has_foreign = any(row["foreign"] for row in answer["stages"])  # else a column of zeros
    columns = ("stage", "units", "done", "to do", *(["other settings"] if has_foreign else []), "device", "one worker needs")
    rows = [
        (
            row["stage"],
            row["units"],
            row["done"],
            _todo(row),
            *([row["foreign"]] if has_foreign else []),
            row["resource"],
            "unknown" if row["estimated_seconds"] is None else clock(row["estimated_seconds"]),
        )
        for row in answer["stages"]
    ]
    print_table(f"{answer['run']}: {answer['num_images']} images in {answer['num_units']} units", columns, rows)
    _print_foreign(answer["stages"])


def print_status(answer: dict[str, Any]) -> None:
    columns = ("stage", "units done", "seen", "kept", "dropped", "failed", "seconds", "top reasons")
    rows = [
        (
            row["stage"],
            f"{row['done']}/{row['units']}",
            row["seen"],
            row["kept"],
            row["dropped"],
            row["failed"],
            f"{row['seconds']:.1f}",
            top_reasons(row["reasons"]),
        )
        for row in answer["stages"]
    ]
    print_table(f"{answer['run']}: images ({_who_runs(answer)})", columns, rows)
    _print_foreign(answer["stages"])


def top_reasons(reasons: Mapping[str, int]) -> str:
    """The most frequent ones, which come first, and how many more there are."""
    named = [f"{reason} {count}" for reason, count in reasons.items()][:TOP_REASONS]
    more = len(reasons) - len(named)
    return ", ".join([*named, *([f"{more} more"] if more else [])])


def _who_runs(answer: dict[str, Any]) -> str:
    """A run may be made here, or by tasks of Slurm."""
    slurm = answer.get("slurm")
    if answer["running"] or slurm is None:
        return "running" if answer["running"] else "not running"
    return "no process here; " + (f"on Slurm {slurm['active']} tasks wait or run" if slurm["queue"] == "asked" else "Slurm did not answer")


def _todo(row: dict[str, Any]) -> str:
    return f"{row['missing'] + row['stale']}" + (f" ({row['stale']} stale)" if row["stale"] else "")


def _print_foreign(rows: Sequence[dict[str, Any]]) -> None:
    if made := ", ".join(f"{row['foreign']} of {row['stage']}" for row in rows if row["foreign"]):
        print(f"units made with other settings: {made}; `passerby run` says what to do")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Words to the left, numbers to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=column in _NAMES)
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))  # Text: a name in brackets is no markup
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = _NO_LIMIT  # a file or a pipe has no edge at which numbers are cut
    console.print(table)
