"""Why a task did not do its work, told apart by what Slurm, the task itself and its log say."""

import re
from enum import StrEnum

from pipeline.slurm.attempts import Attempt
from pipeline.slurm.flight import Task


class Cause(StrEnum):
    """Causes of `status`, each with its own cure (docs/slurm.md)."""

    PROGRAM = "program error"
    MEMORY = "out of memory"
    TIME = "time-out"
    NODE = "node lost"
    KILLED = "killed"
    PREEMPTED = "preempted"
    BUDGET = "restart budget used up"
    CANCELLED = "cancelled"
    NEVER_STARTED = "never started"
    DEPENDENCY = "dependency never satisfied"
    UNKNOWN = "ended without a word"


_STATES = {
    "OUT_OF_MEMORY": Cause.MEMORY,
    "TIMEOUT": Cause.TIME,
    "DEADLINE": Cause.TIME,
    "NODE_FAIL": Cause.NODE,
    "BOOT_FAIL": Cause.NODE,
    "PREEMPTED": Cause.PREEMPTED,
}
_LOG = (  # what slurmstepd writes into the log of a job that it ends
    (re.compile(r"DUE TO TIME LIMIT"), Cause.TIME),
    (re.compile(r"DUE TO NODE FAILURE"), Cause.NODE),
    (re.compile(r"DUE TO (PREEMPTION|JOB REQUEUE)"), Cause.PREEMPTED),
    (re.compile(r"oom[-_]kill|Exceeded job memory limit|exceeded memory limit"), Cause.MEMORY),
    (re.compile(r"CANCELLED AT \S+ \*\*\*"), Cause.CANCELLED),
)


def cause_of(task: Task, attempt: Attempt | None, inputs_done: bool, log: list[str]) -> Cause:
    """The cause for a task that is over with units left, most reliable witness first.

    Args:
        attempt: its last start, None if it had none. inputs_done: whether the units before it are made. log: the last lines of its log.
    """
    state = task.entry.state if task.entry else ""
    reason = task.entry.reason if task.entry else ""
    if attempt is not None and attempt.outcome == "failed" and attempt.cause:
        return Cause(attempt.cause)
    if state in _STATES:
        return _STATES[state]
    if cause := cause_in_log(log):
        return cause
    if attempt is None:
        return _not_started(task, state, reason, inputs_done)
    if attempt.cause:
        return Cause(attempt.cause)
    if state == "CANCELLED" or task.submission.state == "cancelled":
        return Cause.CANCELLED
    return Cause.KILLED if state == "FAILED" else Cause.UNKNOWN


def cause_in_log(lines: list[str]) -> Cause | None:
    """What slurmstepd has said in these lines of the end of a start, None if nothing."""
    text = "\n".join(lines)  # no pattern spans lines
    return next((cause for pattern, cause in _LOG if pattern.search(text)), None)


def _not_started(task: Task, state: str, reason: str, inputs_done: bool) -> Cause:
    """It has told nothing: it never ran, or its script broke before passerby did, as a missing module does."""
    if reason.startswith("Dependency") or not inputs_done:
        return Cause.CANCELLED if task.submission.state == "cancelled" else Cause.DEPENDENCY
    is_cancelled = state == "CANCELLED" or task.submission.state == "cancelled"
    return Cause.CANCELLED if is_cancelled else Cause.NEVER_STARTED
