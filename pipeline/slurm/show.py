"""What status and submit print for people. The same facts are in their JSON."""

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pipeline.progress import clock
from pipeline.report import print_table
from pipeline.slurm.failures import Failure
from pipeline.slurm.restarts import Restarts
from pipeline.slurm.status import SlurmStatus, StageStatus
from pipeline.slurm.waiting import Waiting

if TYPE_CHECKING:
    from pipeline.slurm.submit import Script, Sent

NUM_NODES = 5  # shown for one cause of restarts


def print_slurm(status: SlurmStatus) -> None:
    """The table by stage, then why tasks wait, why they came back, then the causes with the last lines of a log each."""
    columns = ("stage", "units done", "running", "waiting", "failed", "not sent", "images/s", "ETA", "GPU h", "restarts")
    title = f"{status.active} tasks wait or run" if status.queue == "asked" else f"the queue did not answer: {status.queue}"
    print_table(f"on Slurm: units ({title})", columns, [_row(stage) for stage in status.stages])
    _print_waiting(status.waiting)
    for group in status.restarts:
        _print_restarts(group)
    for failure in status.failures:
        _print_failure(failure)


def _row(stage: StageStatus) -> Sequence[Any]:
    return (
        stage.stage,
        f"{stage.done}/{stage.units}",
        stage.running,
        stage.waiting,
        stage.failed,
        stage.not_submitted,
        "-" if stage.images_per_s is None else f"{stage.images_per_s:.2f}",
        "-" if stage.eta_s is None else clock(stage.eta_s),
        f"{stage.gpu_hours:.2f}",
        stage.restarts,
    )


def _print_waiting(groups: Sequence[Waiting]) -> None:
    """One line for all that start by themselves, one for each group that does not."""
    by_reason: Counter[str] = Counter()
    for group in groups:
        if not group.way_out:
            by_reason[group.reason] += group.tasks
    if by_reason:
        print(f"waiting: {', '.join(f'{count} tasks ({reason})' for reason, count in by_reason.most_common())}")
    for group in groups:
        if group.way_out:
            more = ", ..." if group.tasks > len(group.jobs) else ""
            print(f"{group.stage}: {group.tasks} tasks wait ({group.reason}), job {', '.join(group.jobs)}{more}: {group.way_out}")


def _print_restarts(group: Restarts) -> None:
    nodes = sorted(group.nodes.items(), key=lambda node: (-node[1], node[0]))
    more = ", ..." if len(nodes) > NUM_NODES else ""
    where = ", ".join(f"{name} ({times})" for name, times in nodes[:NUM_NODES])
    print(f"{group.stage}: {group.times} restarts, {group.cause}: on {where}{more}")


def _print_failure(failure: Failure) -> None:
    more = ", ..." if failure.tasks > len(failure.jobs) else ""
    where = f" on {', '.join(failure.nodes[:3])}" if failure.nodes else ""
    detail = f" ({failure.detail})" if failure.detail else ""
    print(f"{failure.stage}: {failure.cause}{detail}: {failure.units} units, job {', '.join(failure.jobs)}{more}{where}")
    if failure.way_out:
        print(f"  way out: {failure.way_out}")
    if failure.lines:
        print(f"  {failure.log}:")
        for line in failure.lines:
            print(f"    {line}")


def print_sent(sent: "Sent") -> None:
    """What was submitted, or would be, or why nothing."""
    if sent.scripts and sent.number is None:
        from pipeline.slurm.submit import dry_text

        print(dry_text(sent))
    waiting = f"; {sent.num_waiting} units are in the queue already" if sent.num_waiting else ""
    if not sent.jobs:
        print(f"nothing to submit{waiting}" if waiting else "nothing is missing: nothing to submit")
        return
    verb = "would submit" if sent.number is None else f"submission {sent.number}:"
    print(f"{verb} {len(sent.jobs)} jobs, {sum(job.size for job in sent.jobs)} tasks, {sent.num_units} units{waiting}")
    for job in sent.jobs:
        print(f"  {job.job_id or '-':>9}  {job.name:<14} {job.size:>6} tasks")


def sent_json(sent: "Sent", run: str) -> dict[str, Any]:
    jobs = [
        {
            "name": job.name,
            "stage": job.stage,
            "job_id": job.job_id,
            "tasks": job.size,
            **(_script_json(sent.scripts[job.name]) if job.name in sent.scripts else {}),
        }
        for job in sent.jobs
    ]
    return {"run": run, "submission": sent.number, "units": sent.num_units, "units_in_queue": sent.num_waiting, "jobs": jobs}


def _script_json(script: "Script") -> dict[str, Any]:
    return {"command": script.command, "script": script.text, "task_units": script.units, "first_task_starts": script.start}
