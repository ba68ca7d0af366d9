"""`passerby cancel`, and what a submit takes back: jobs out of the queue, believed only when the queue says so."""

import time
from collections.abc import Iterable, Sequence

from pipeline.contracts.errors import StageError
from pipeline.describe import RunPlan
from pipeline.lock import run_lock
from pipeline.slurm import client, flight, submission
from pipeline.slurm.submission import Submission

PATIENCE_S = 10.0  # for slurmctld to do what scancel has asked
_POLL_S = 1.0


def cancel(plan: RunPlan) -> int:
    """Take everything of the run out of the queue; how many tasks that were. What is done stays done. Raises StageError if any stays."""
    with run_lock(plan.paths):
        known = submission.read_all(plan.paths)
        queued = [task for task in flight.tasks(known, client.queue()) if task.entry and (task.is_queued or task.entry.is_dead)]
        _withdraw({task.entry.array_id for task in queued if task.entry})
        for old in {task.submission.number: task.submission for task in queued}.values():
            old.state = "cancelled"
            submission.write(plan.paths, old)
        return len(queued)


def take_back(plan: RunPlan, old: Submission, queue: Sequence[client.QueueEntry]) -> None:
    """A submission that was not sent whole. Raises StageError if some of it stays in the queue; then it stays open."""
    _withdraw({entry.array_id for entry in flight.entries_of([old], queue)} | {job.job_id for job in old.jobs if job.job_id})
    old.state = "abandoned"
    submission.write(plan.paths, old)


def is_astray(old: Submission, queue: Sequence[client.QueueEntry]) -> bool:
    """Whether it was interrupted, or Slurm has taken a job of it after all was thought to be taken back."""
    stay = (entry.is_queued and not entry.is_ending for entry in flight.entries_of([old], queue))
    return old.state == "open" or (old.state == "abandoned" and any(stay))


def _withdraw(job_ids: Iterable[int]) -> None:
    """Raises StageError with scancel's words if tasks of these jobs still wait or run; those that are being ended do not count."""
    if not (ids := set(job_ids)):
        return
    complaint = client.cancel(sorted(ids))
    deadline = time.monotonic() + PATIENCE_S
    while left := [e for e in client.queue() if e.array_id in ids and (e.is_queued or e.is_dead) and not e.is_ending]:
        if complaint or time.monotonic() > deadline:
            jobs = ", ".join(str(job) for job in sorted({entry.array_id for entry in left})[:5])
            raise StageError(f"{len(left)} tasks are still in the queue (job {jobs}), scancel said {complaint or 'nothing'!r}; try again")
        time.sleep(_POLL_S)
