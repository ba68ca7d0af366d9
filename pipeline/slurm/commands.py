"""The verbs of `passerby` that speak with Slurm, as functions of a resolved run. pipeline/cli.py gives them their options.

What only sending needs is imported there: `status` answers sooner.
"""

import json
import time
from pathlib import Path
from typing import Any

import click

from pipeline import report
from pipeline.describe import RunPlan
from pipeline.record_cache import RecordCache
from pipeline.slurm import show
from pipeline.slurm.status import SlurmStatus, status
from pipeline.survey import judge_all

Answer = dict[str, Any]


def run_submit(plan: RunPlan, site: Path | None, site_set: tuple[str, ...], *, dry_run: bool, only_failed: bool, as_json: bool) -> None:
    from pipeline.slurm.submit import SITE, load_site, submit

    def say(line: str) -> None:
        click.echo(line, err=True)

    if site is None and not SITE.exists():
        say(f"no {SITE} here and no --site: no partition, no account, our own times and sizes (configs/site.example.yaml is one to copy)")
    sent = submit(plan, load_site(site, site_set), dry_run=dry_run, only_failed=only_failed, say=say)
    if as_json:
        click.echo(json.dumps(show.sent_json(sent, str(plan.paths.root)), indent=1, ensure_ascii=False))
        return
    show.print_sent(sent)


def run_cancel(plan: RunPlan, *, as_json: bool) -> None:
    from pipeline.slurm.withdraw import cancel

    num_tasks = cancel(plan)
    if as_json:
        click.echo(json.dumps({"run": str(plan.paths.root), "cancelled_tasks": num_tasks}))
        return
    click.echo(f"{num_tasks} tasks taken out of the queue; what is done stays done" if num_tasks else "nothing of this run is in the queue")


def run_status(plan: RunPlan, records: RecordCache, *, watch_s: float | None, as_json: bool) -> None:
    """Once, or every watch_s seconds until nothing waits or runs. records: as they are now."""
    while True:
        stages = judge_all(plan, records)
        slurm = status(plan, stages)
        answer = report.status_json(plan, stages) | ({"slurm": slurm.to_json()} if slurm else {})
        _show(answer, slurm, as_json, watch_s)
        if watch_s is None or not _is_active(answer, slurm):
            return
        time.sleep(watch_s)
        records.refresh(plan.digests)


def _show(answer: Answer, slurm: SlurmStatus | None, as_json: bool, watch_s: float | None) -> None:
    if as_json:
        click.echo(json.dumps(answer, indent=1 if watch_s is None else None, ensure_ascii=False))
        return
    if watch_s is not None:
        click.clear()
    report.print_status(answer)
    if slurm:
        show.print_slurm(slurm)


def _is_active(answer: Answer, slurm: SlurmStatus | None) -> bool:
    return bool(answer["running"] or (slurm and (slurm.active or slurm.queue != "asked")))
