"""Why tasks had to begin again, by stage and cause. They came back by themselves and nothing is to be done, but a bad node shows here."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from pipeline.describe import RunPlan
from pipeline.slurm.attempts import Attempt
from pipeline.slurm.causes import Cause, cause_in_log
from pipeline.slurm.failures import Starts, starts_in
from pipeline.slurm.flight import Task
from pipeline.slurm.script import log_file


@dataclass(slots=True)
class Restarts:
    """Starts of one stage's tasks that one cause cut short and that another followed, or will. nodes: where -> how many of them."""

    stage: str
    cause: Cause
    times: int = 0
    nodes: dict[str, int] = field(default_factory=dict)


def restarts(plan: RunPlan, stage: str, own: Sequence[Task], starts: Starts) -> list[Restarts]:
    """own: the tasks that count for the stage. Most frequent cause first."""
    found: dict[Cause, Restarts] = {}
    for task in own:
        told = starts.get(task.key, [])
        is_back = task.is_queued and not task.is_running  # in the queue for one start more
        for number, (attempt, _) in enumerate(told if is_back else told[:-1]):
            cause = _cause(plan, task, attempt, len(told) - number)
            group = found.setdefault(cause, Restarts(stage, cause))
            group.times += 1
            group.nodes[attempt.node] = group.nodes.get(attempt.node, 0) + 1
    return sorted(found.values(), key=lambda group: -group.times)


def _cause(plan: RunPlan, task: Task, attempt: Attempt, from_end: int) -> Cause:
    """from_end: 1 for the last start. One that could not say how it ended was lost with its node, unless its log knows better."""
    if attempt.cause:
        return Cause(attempt.cause)
    if attempt.ended is not None:
        return Cause.PREEMPTED  # it was done when Slurm, or somebody, put it back
    logged = starts_in(log_file(plan.paths, task.submission.number, task.job, task.element))
    if logged == [[]]:
        return Cause.NODE
    if from_end > len(logged):
        return Cause.UNKNOWN  # later starts have written so much that its last lines were not read
    return cause_in_log(logged[-from_end]) or Cause.NODE
