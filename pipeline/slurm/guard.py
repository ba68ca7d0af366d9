"""What must not be done under tasks that Slurm has in its queue, or may have: they would read one config first and another one later."""

from collections import Counter
from collections.abc import Collection, Iterable

from pipeline.completion import State
from pipeline.contracts.errors import ConfigError, StageError
from pipeline.describe import RunPlan
from pipeline.graph import covered
from pipeline.slurm import client, submission
from pipeline.slurm.ended import remember
from pipeline.slurm.flight import Task, tasks
from pipeline.slurm.submission import Submission
from pipeline.survey import changed_settings, survey

MAX_NAMED = 5  # job ids, nodes


def refuse_queued(plan: RunPlan) -> None:
    """For whoever works on the run on this machine. Raises ConfigError if tasks of it are in Slurm's queue, StageError if they may be."""
    if not (known := submission.read_all(plan.paths)):
        return
    try:
        queue = client.queue()
    except ConfigError:
        return  # no squeue: this machine belongs to no cluster
    except StageError as err:
        if sent := [old for old in known if old.state in ("open", "submitted")]:
            _refuse_unknown(plan, sent, err)
        return
    queued = [task for task in tasks(known, queue) if task.is_queued]
    if num := sum(not task.is_ending for task in queued):
        raise ConfigError(f"{num} tasks of {plan.paths.root} are in Slurm's queue; wait for them, or `passerby cancel` them, then run")
    if queued:
        raise _still_ending(plan, queued)


def refuse_changed(plan: RunPlan, all_tasks: Iterable[Task]) -> None:
    """For submit. Raises ConfigError if tasks in the queue are to make a stage whose settings are no longer those they were sent with."""
    queued = [task for task in all_tasks if task.is_queued]
    differing = {t.submission.number: {n for n, d in plan.digests.items() if t.submission.digests.get(n) != d} for t in queued}
    other = [task for task in queued if any(spec.name in differing[task.submission.number] for spec in covered(task.job.stage))]
    if not other:
        return
    num = sum(not task.is_ending for task in other)
    if num == 0:
        raise _still_ending(plan, other)
    stages = [name for name in plan.digests if any(name in names for names in differing.values())]
    fields = list(dict.fromkeys(change for name in stages for change in changed_settings(plan, name)))
    what = ", ".join(fields) or f"what stage {stages[0]!r} reads: a file that its settings name, or passerby itself"
    raise ConfigError(
        f"{num} tasks of {plan.paths.root} are in Slurm's queue with other settings; changed: {what}; "
        f"wait for them, or `passerby cancel {plan.paths.typed}` and submit again"
    )


def _still_ending(plan: RunPlan, ending: Collection[Task]) -> ConfigError:
    jobs, nodes = [task.slurm_id for task in ending], sorted({task.entry.node for task in ending if task.entry})
    return ConfigError(
        f"{len(ending)} cancelled tasks of {plan.paths.root} are still being ended by Slurm; try again in a minute. If they stay "
        f"({_first(jobs)} on {_first(nodes)}), see `scontrol show job {jobs[0]}` and ask the cluster's administrators to end them, "
        "or give this run another run.name"
    )


def _first(names: list[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", ..." if len(names) > MAX_NAMED else "")


def _refuse_unknown(plan: RunPlan, known: list[Submission], err: StageError) -> None:
    """Slurm does not answer. Tasks whose end somebody has seen, or that have nothing left to make, do not run."""
    states = {stage.spec.name: stage.states for stage in survey(plan)}
    may_run: Counter[int] = Counter()
    for task in tasks(known, remember(plan.paths, known, [])):
        units = [(spec.name, unit) for spec in covered(task.job.stage) for unit in task.units]
        if task.entry is None and any(states[stage].get(unit) is not State.DONE for stage, unit in units):
            may_run[task.submission.number] += 1
    if may_run:
        which = ", ".join(f"{count} tasks of submission {number}" for number, count in may_run.items())
        raise StageError(
            f"Slurm does not answer, and {which} in {plan.paths.root} may run; "
            f"try again, or move {plan.paths.slurm} away if that cluster is gone: {err}"
        )
