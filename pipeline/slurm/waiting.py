"""Why tasks wait, in Slurm's words, and what to do about those that will not start by themselves."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from pipeline.slurm.flight import Task

MAX_SHOWN = 5
_HELD = re.compile(r"held|hold", re.IGNORECASE)  # JobHeldUser, JobHeldAdmin, "launch failed requeued held", the state REQUEUE_HOLD
_NEVER = re.compile(r"Partition(Time|Node)Limit|BadConstraints|Invalid|AccountNotAllowed|QOSNotAllowed")
_SITE = re.compile(r"Assoc|QOS|Max|Partition|ReqNodeNotAvail|Nodes? ?(Down|Not)|Reserv|Licenses", re.IGNORECASE)


@dataclass(slots=True)
class Waiting:
    """Tasks of one stage command that wait for one reason. jobs: the first few; way_out: "" if they start by themselves."""

    stage: str
    reason: str
    tasks: int = 0
    jobs: list[str] = field(default_factory=list)
    way_out: str = ""


def waiting(tasks: Iterable[Task]) -> list[Waiting]:
    """By stage and reason, in the order of `tasks`."""
    found: dict[tuple[str, str], Waiting] = {}
    for task in tasks:
        if task.entry is None or not task.is_queued or task.is_running:
            continue
        reason = task.entry.reason if task.entry.reason not in ("", "None") else task.entry.state
        group = found.setdefault((task.job.stage, reason), Waiting(task.job.stage, reason))
        group.tasks += 1
        if len(group.jobs) < MAX_SHOWN:
            group.jobs.append(task.slurm_id)
    for group in found.values():
        group.way_out = _way_out(group.reason, group.jobs[0])
    return list(found.values())


def _way_out(reason: str, job: str) -> str:
    if _HELD.search(reason):
        return f"held until somebody says `scontrol release {job}`; see its log first; or `passerby cancel`, then `passerby retry`"
    if _NEVER.match(reason):
        return "they cannot start like this: `passerby cancel`, then `passerby retry` with another time_limit or partition (--site-set)"
    return "a limit of the site, or nodes that are down or reserved: wait, or ask who runs the cluster" if _SITE.match(reason) else ""
