"""Tasks that are over with units left, by stage and cause, with the last lines of a log."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.completion import State
from pipeline.describe import RunPlan
from pipeline.graph import StageSpec, covered, resource
from pipeline.logs import last_lines
from pipeline.slurm.attempts import Attempt
from pipeline.slurm.causes import Cause, cause_of
from pipeline.slurm.flight import Task
from pipeline.slurm.script import log_file

Starts = Mapping[tuple[int, str, int], list[tuple[Attempt, float]]]
START = "INFO task: submission"  # the first line of pipeline/slurm/task.py
MAX_LINES = 200  # looked at
LOG_LINES = 8  # shown
STEPD = "slurmstepd"  # how the lines begin that Slurm itself writes into the log, each once a step
MAX_SHOWN = 5


@dataclass(slots=True)
class Failure:
    """Tasks of one stage that ended for one cause. jobs: the first few, as Slurm's id_index. lines: end of the last one's log.

    way_out: a command line, "" where the log has to tell.
    """

    stage: str
    cause: Cause
    tasks: int = 0
    units: int = 0
    jobs: list[str] = field(default_factory=list)
    nodes: list[str] = field(default_factory=list)
    detail: str = ""
    way_out: str = ""
    log: str = ""
    lines: list[str] = field(default_factory=list)


def failures(
    plan: RunPlan, spec: StageSpec, lost: Mapping[Task, Sequence[int]], states: Mapping[str, Mapping[int, State]], starts: Starts
) -> list[Failure]:
    """lost: tasks that are over -> the units that they have not made. Most units first."""
    found: dict[Cause, Failure] = {}
    for task, units in lost.items():
        told = starts.get(task.key, [])
        attempt = told[-1][0] if told else None
        log = log_file(plan.paths, task.submission.number, task.job, task.element)
        lines = starts_in(log)[-1]
        ready = all(states[stage][source] is State.DONE for unit in units for stage, source in plan.sources(spec, unit))
        cause = cause_of(task, attempt, ready, lines)
        failure = found.setdefault(cause, Failure(spec.name, cause, way_out=_way_out(cause, plan, task.job.stage)))
        failure.tasks += 1
        failure.units += len(units)
        if len(failure.jobs) < MAX_SHOWN:
            failure.jobs.append(task.slurm_id)
        node = attempt.node if attempt else task.entry.node if task.entry else ""
        if node and node not in failure.nodes:
            failure.nodes.append(node)
        if attempt and attempt.detail:
            failure.detail = attempt.detail
        if lines:
            failure.log, failure.lines = str(log), _once(lines)[-LOG_LINES:]
    return sorted(found.values(), key=lambda failure: -failure.units)


def _way_out(cause: Cause, plan: RunPlan, command: str) -> str:
    if cause is not Cause.MEMORY:
        return ""
    kind = resource(command)
    sizes = {spec.name: plan.config[spec.name]["batch_size"] for spec in covered(command) if spec.resource == "gpu"}
    batches = " ".join(f"--set {stage}.batch_size={max(size // 2, 1)}" for stage, size in sizes.items() if size != 1)
    smaller = f", or smaller batches ({batches})" if batches else ""  # of 0, found by trying, it is not known how large they were
    return f"more memory than now, `passerby retry {plan.paths.typed} --site-set {kind}.memory=64G`{smaller}"


def _once(lines: Sequence[str]) -> list[str]:
    """Without what slurmstepd says again."""
    return [line for place, line in enumerate(lines) if not (line.startswith(STEPD) and line in lines[:place])]


def starts_in(log: Path) -> list[list[str]]:
    """What the last starts of a task have written, oldest first, at least one: they share a file, each ended for a reason of its own.

    Of a long log the first may lack its beginning, or be what stands before all starts.
    """
    try:
        lines = last_lines(log, MAX_LINES)
    except OSError:
        return [[]]
    begins = sorted({0, *(i for i, line in enumerate(lines) if START in line)})
    return [lines[begin:end] for begin, end in zip(begins, [*begins[1:], len(lines)], strict=True)]
