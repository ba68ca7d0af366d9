"""What earlier submissions still have in the queue: which units of which stage somebody is going to make."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pipeline.slurm.client import RUNNING, QueueEntry
from pipeline.slurm.submission import Job, Submission


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One task of one submission, with what Slurm knows of it (None: nothing any more). Compared by identity."""

    submission: Submission
    job: Job
    element: int
    entry: QueueEntry | None

    @property
    def units(self) -> list[int]:
        return self.submission.units(self.job, self.element)

    @property
    def key(self) -> tuple[int, str, int]:
        return self.submission.number, self.job.name, self.element

    @property
    def slurm_id(self) -> str:
        """Slurm's name of it, as scancel and scontrol take it."""
        number = self.entry.array_id if self.job.job_id is None and self.entry else self.job.job_id
        return f"{number}" if self.job.group is None else f"{number}_{self.element}"

    @property
    def is_running(self) -> bool:
        return self.entry is not None and self.entry.state in RUNNING

    @property
    def is_queued(self) -> bool:
        return self.entry is not None and self.entry.is_queued

    @property
    def is_ending(self) -> bool:
        """It still runs, but what it has not made by now it never makes: it was taken out of the queue."""
        return self.entry is not None and self.entry.is_ending and self.submission.is_withdrawn


def tasks(submissions: Iterable[Submission], queue: Iterable[QueueEntry]) -> Iterator[Task]:
    """Every task ever submitted, oldest submission first."""
    by_id: dict[tuple[int, int], QueueEntry] = {}
    by_name: dict[tuple[str, int], QueueEntry] = {}
    for entry in queue:
        by_id[entry.array_id, entry.element] = by_name[entry.job_name, entry.element] = entry
    for submission in submissions:
        for job in submission.jobs:
            for element in range(job.size):
                found = by_name.get((job.job_name, element)) if job.job_id is None else by_id.get((job.job_id, element))
                yield Task(submission, job, element, found)


def entries_of(submissions: Iterable[Submission], queue: Iterable[QueueEntry]) -> list[QueueEntry]:
    """What the queue has of these submissions. A job is known by its id; by its name only if its id was not written down."""
    jobs = [job for submission in submissions for job in submission.jobs]
    ids, names = {job.job_id for job in jobs}, {job.job_name for job in jobs if job.job_id is None}
    return [entry for entry in queue if entry.array_id in ids or entry.job_name in names]


@dataclass(frozen=True, slots=True)
class Flight:
    """units: those with a task in the queue, in whatever stage. jobs: stage -> the queued jobs of it, all with their ids.

    Tasks that are being ended count for neither. A task that begins with their units meanwhile meets the same settings (guard.py refuses
    others), so that both write the same bytes, each file whole. given: units of any submission. begun: id of a running job -> the checks it
    was sent with; one that waits will make those that it then finds in the config.
    """

    units: frozenset[int]
    jobs: dict[str, list[Job]]
    given: frozenset[int]
    begun: dict[int, Mapping[str, str]] = field(default_factory=dict)


def in_flight(all_tasks: Sequence[Task]) -> Flight:
    """What Slurm will still do about these tasks of all submissions."""
    units: set[int] = set()
    given: set[int] = set()
    jobs: dict[str, dict[str, Job]] = {}
    begun: dict[int, Mapping[str, str]] = {}
    for task in all_tasks:
        is_unit_stage = task.job.group is not None
        if is_unit_stage:
            given.update(task.units)
        if task.entry and task.is_queued and not task.is_ending:
            jobs.setdefault(task.job.stage, {})[task.job.job_name] = replace(task.job, job_id=task.entry.array_id)
            if task.is_running:
                begun[task.entry.array_id] = task.submission.checks
            if is_unit_stage:
                units.update(task.units)
    return Flight(frozenset(units), {stage: list(named.values()) for stage, named in jobs.items()}, frozenset(given), begun)
