"""How a run stands on a cluster, stage by stage, from done records, the queue and what tasks told of themselves. Needs no slurmdbd."""

import dataclasses
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.completion import State
from pipeline.contracts.errors import ProjectError
from pipeline.describe import RunPlan
from pipeline.graph import covered
from pipeline.slurm import attempts, client, submission
from pipeline.slurm.attempts import Attempt
from pipeline.slurm.ended import remember
from pipeline.slurm.failures import Failure, Starts, failures
from pipeline.slurm.flight import Task, tasks
from pipeline.slurm.restarts import Restarts, restarts
from pipeline.slurm.waiting import Waiting, waiting
from pipeline.survey import StageSurvey

RATE_WINDOW_S = 600.0


@dataclass(slots=True)
class StageStatus:
    """Units of one stage. running: in hand, one a worker of a running task; failed: their task is over; not_submitted:
    never, or taken back.

    images_per_s: over the last ten minutes, None if nothing was finished. eta_s: for what waits or runs, None if nothing runs.
    restarts: how often tasks went back into the queue; SlurmStatus.restarts says why.
    """

    stage: str
    units: int
    done: int
    running: int = 0
    waiting: int = 0
    failed: int = 0
    not_submitted: int = 0
    images_per_s: float | None = None
    eta_s: float | None = None
    gpu_hours: float = 0.0
    starts: int = 0
    restarts: int = 0


@dataclass(slots=True)
class SlurmStatus:
    """queue: "asked", or why it could not be. active: tasks that wait or run. waiting: why those wait. restarts: why tasks came back."""

    queue: str
    active: int
    stages: list[StageStatus]
    waiting: list[Waiting]
    restarts: list[Restarts]
    failures: list[Failure]

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def status(plan: RunPlan, surveys: Sequence[StageSurvey]) -> SlurmStatus | None:
    """None if nothing of the run was ever submitted. Without an answer from the queue the rest is told from the records."""
    known = submission.read_all(plan.paths)
    if not known:
        return None
    answer = "asked"
    try:
        queue = client.queue()
    except ProjectError as err:
        answer, queue = str(err), []
    every = list(tasks(known, remember(plan.paths, known, queue)))
    starts = {
        (old.number, *key): told for old in known for key, told in attempts.read_all(submission.folder(plan.paths, old.number)).items()
    }
    states = {survey.spec.name: survey.states for survey in surveys}
    newest = {(spec.name, unit): task for task in every for spec in covered(task.job.stage) for unit in task.units}
    rows, failed, again, told = [], list[Failure](), list[Restarts](), set[Task]()
    for survey in surveys:
        row, lost = _count(survey, newest, answer == "asked")
        _speed(row, survey)
        # a task that makes several stages stands with the first of them, and its end is told once
        own = [task for task in every if covered(task.job.stage)[0].name == row.stage]
        _time(row, own, starts)
        came_back = restarts(plan, row.stage, own, starts)
        row.restarts = sum(group.times for group in came_back)
        again += came_back
        rows.append(row)
        failed += failures(plan, survey.spec, {task: units for task, units in lost.items() if task not in told}, states, starts)
        told.update(lost)
    return SlurmStatus(answer, sum(task.is_queued for task in every), rows, waiting(every), again, failed)


def _count(survey: StageSurvey, newest: dict[tuple[str, int], Task], asked: bool) -> tuple[StageStatus, dict[Task, list[int]]]:
    """The stage's row, and the tasks that are over with the units that they have not made."""
    name = survey.spec.name
    row = StageStatus(name, len(survey.states), 0)
    lost: dict[Task, list[int]] = {}
    in_hand: Counter[Task] = Counter()
    for unit, state in survey.states.items():
        task = newest.get((name, unit))
        if state is State.DONE:
            row.done += 1
        elif task is None or task.submission.state == "abandoned":
            row.not_submitted += 1
        elif task.is_running and in_hand[task] < max(task.job.gpus, 1):  # a GPU has a worker
            in_hand[task] += 1
            row.running += 1
        elif task.is_queued or not asked:
            row.waiting += 1
        else:
            row.failed += 1
            lost.setdefault(task, []).append(unit)
    return row, lost


def _speed(row: StageStatus, survey: StageSurvey) -> None:
    now = max([time.time(), *(record.finished for record in survey.done)])  # the file server's clock may be ahead of ours
    recent = [record for record in survey.done if now - record.finished < RATE_WINDOW_S]
    if not recent:
        return
    begin = max(now - RATE_WINDOW_S, min(record.finished - record.seconds for record in recent))
    until = now if row.running else max(record.finished for record in recent)
    span = until - begin
    if span <= 0:
        return
    row.images_per_s = round(sum(record.seen for record in recent) / span, 2)
    if row.running:
        row.eta_s = round((row.running + row.waiting) * span / len(recent), 1)


def _time(row: StageStatus, own: Sequence[Task], starts: Starts) -> None:
    """GPU hours and starts, of all submissions."""
    seconds = 0.0
    for task in own:
        told: list[tuple[Attempt, float]] = starts.get(task.key, [])
        row.starts += len(told)
        for number, (attempt, last_sign) in enumerate(told):
            is_running = task.is_running and number == len(told) - 1
            seconds += task.job.gpus * attempts.duration(attempt, last_sign, is_running)
    row.gpu_hours = round(seconds / 3600, 3)
