"""`passerby submit`, `retry`: what is missing of a run, sent to Slurm. What is there, or in the queue, is left alone."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.config import load, to_yaml
from pipeline.contracts.errors import ProjectError, StageError
from pipeline.describe import RunPlan
from pipeline.fileio import write_bytes
from pipeline.local import write_config
from pipeline.lock import run_lock
from pipeline.paths import RunPaths
from pipeline.slurm import client, flight, submission
from pipeline.slurm.draft import Draft, draft
from pipeline.slurm.ended import remember
from pipeline.slurm.guard import refuse_changed
from pipeline.slurm.script import logs_folder, refuse_folder, render
from pipeline.slurm.site import SiteConfig
from pipeline.slurm.submission import Job, Submission
from pipeline.slurm.withdraw import is_astray, take_back
from pipeline.slurm.work import stage_command
from pipeline.survey import StageSurvey, refuse_any_foreign, survey

Say = Callable[[str], None]
SITE = Path("configs/site.yaml")
_DEFAULT_ARRAY_SIZE = 1001  # Slurm's own, for a dry run where there is no Slurm


class Script(NamedTuple):
    """A batch script as it is sent. command: its sbatch line; units: of each task; start: the stage command of the first task."""

    command: list[str]
    text: str
    units: list[list[int]]
    start: list[str]


@dataclass(frozen=True, slots=True)
class Sent:
    """What a submission came to. scripts: by job name."""

    number: int | None  # None: nothing was sent
    jobs: list[Job]
    num_units: int
    num_waiting: int
    scripts: dict[str, Script]


def load_site(file: Path | None, overrides: Sequence[str]) -> SiteConfig:
    """The given file, else configs/site.yaml, else the defaults. Raises ConfigError naming file and field."""
    if file is None and SITE.exists():
        file = SITE
    if file is None:
        from pipeline.config import apply_overrides, build

        return build(SiteConfig, apply_overrides({}, overrides), "--site-set")
    return load(SiteConfig, file, overrides)


def submit(plan: RunPlan, site: SiteConfig, *, dry_run: bool = False, only_failed: bool = False, say: Say = print) -> Sent:
    """Send everything that is missing and not in the queue; nothing if that is nothing.

    Raises: ConfigError if another process works on the run or tasks of other settings are in the queue, ContractError on records of
    another config, StageError if Slurm refuses a job (those sent before it are taken back).
    """
    refuse_folder(plan.paths.root.absolute())
    if dry_run:
        return _dry(plan, site, only_failed, say)
    with run_lock(plan.paths):
        queue, known = client.queue(), submission.read_all(plan.paths)
        for old in known:
            if is_astray(old, queue):
                say(f"submission {old.number} was interrupted; what it sent is taken back")
                take_back(plan, old, queue)
                queue = client.queue()
        refuse_changed(plan, flight.tasks(known, queue))
        stages = survey(plan)
        refuse_any_foreign(plan, stages)
        write_config(plan)
        remember(plan.paths, known, queue)
        made = _draft(plan, site, stages, known, queue, site.max_array_size or client.max_array_size(), only_failed, say)
        # there are dead ones only where a site has switched off --kill-on-invalid-dep
        dead = [task for task in flight.tasks(known, queue) if task.entry and task.entry.is_dead]
        _take_out([task.slurm_id for task in dead], "tasks that wait for what cannot happen any more", say)
        sent = _send(plan, site, made) if made.submission.jobs else Sent(None, [], 0, made.num_waiting, {})
        # not before all is sent: sbatch may refuse
        _take_out([job.job_id for job in made.replaces if job.job_id], "jobs of earlier submissions that are of no use any more", say)
        return sent


def _dry(plan: RunPlan, site: SiteConfig, only_failed: bool, say: Say) -> Sent:
    stages = survey(plan)
    refuse_any_foreign(plan, stages)
    queue: list[client.QueueEntry] = []
    try:
        queue, size = client.queue(), site.max_array_size or client.max_array_size()
    except ProjectError as err:
        size = site.max_array_size or _DEFAULT_ARRAY_SIZE
        say(f"Slurm does not answer, so that nothing is taken to be in the queue, and arrays to have at most {size} tasks: {err}")
    known = submission.read_all(plan.paths)
    refuse_changed(plan, flight.tasks(known, queue))
    made = _draft(plan, site, stages, known, queue, size, only_failed, say)
    ids = {job.name: f"<id of {job.name}>" for job in made.submission.jobs}
    scripts = {job.name: _as_sent(plan, made.submission, job, _render(plan, site, made, job), ids) for job in made.submission.jobs}
    return Sent(None, made.submission.jobs, made.num_units, made.num_waiting, scripts)


def _draft(
    plan: RunPlan,
    site: SiteConfig,
    stages: list[StageSurvey],
    known: list[Submission],
    queue: list[client.QueueEntry],
    max_array_size: int,
    only_failed: bool,
    say: Say,
) -> Draft:
    now = flight.in_flight(list(flight.tasks(known, queue)))
    only = now.given if only_failed else None
    made = draft(plan, stages, site, now, number=submission.next_number(known), max_array_size=max_array_size, only=only)
    if made.num_waiting and any(plan.checks.get(job.stage) for job in made.submission.jobs):
        say(f"{made.num_waiting} units are in the queue already and do not wait for the check of the prompts; the shards do")
    return made


def _send(plan: RunPlan, site: SiteConfig, made: Draft) -> Sent:
    sent = made.submission
    home = submission.folder(plan.paths, sent.number)
    logs_folder(plan.paths, sent.number).mkdir(parents=True, exist_ok=True)
    texts = {job.name: _render(plan, site, made, job) for job in sent.jobs}
    for job in sent.jobs:
        write_bytes(_script(plan, sent, job), texts[job.name].encode())
    write_bytes(home / "site.yaml", to_yaml(site).encode())
    submission.write(plan.paths, sent)
    ids: dict[str, str] = {}
    scripts: dict[str, Script] = {}
    try:
        for job in sent.jobs:
            scripts[job.name] = _as_sent(plan, sent, job, texts[job.name], ids)
            job.job_id = client.submit(_script(plan, sent, job), _dependencies(job, ids))
            ids[job.name] = str(job.job_id)
            submission.write(plan.paths, sent)
    except ProjectError as err:
        try:
            take_back(plan, sent, client.queue())  # an sbatch that timed out may have been heard: the queue knows its name
        except ProjectError as second:
            raise StageError(f"{err}; what was sent before could not be taken back ({second}): the next submit does it") from err
        raise
    sent.state = "submitted"
    submission.write(plan.paths, sent)
    return Sent(sent.number, sent.jobs, made.num_units, made.num_waiting, scripts)


def _take_out(jobs: Sequence[int | str], what: str, say: Say) -> None:
    """scancel of what does no harm if it stays: that it does is said, and the next submit tries again."""
    try:
        complaint = client.cancel(jobs)
    except StageError as err:
        complaint = str(err)
    if complaint:
        say(f"{what} stay in the queue for now ({', '.join(map(str, jobs[:5]))}); the next submit takes them out: {complaint}")


def _render(plan: RunPlan, site: SiteConfig, made: Draft, job: Job) -> str:
    return render(site, plan.paths, made.submission.number, job, site.resources(job.stage), made.windows[job.name])


def _script(plan: RunPlan, sent: Submission, job: Job) -> Path:
    return submission.folder(plan.paths, sent.number) / f"{job.name}.sbatch"


def _as_sent(plan: RunPlan, sent: Submission, job: Job, text: str, ids: dict[str, str]) -> Script:
    command = client.submit_command(_script(plan, sent, job), _dependencies(job, ids))
    units = [sent.units(job, element) for element in range(job.size)]
    return Script(command, text, units, stage_command(RunPaths(plan.paths.root.absolute()), sent, job, units[0]))


def _dependencies(job: Job, ids: dict[str, str]) -> list[str]:
    return [_with_ids(text, ids) for text in job.after]


def _with_ids(text: str, ids: dict[str, str]) -> str:
    """aftercorr:{generate-0} with the id of that job."""
    kind, _, name = text.partition(":")
    return f"{kind}:{ids[name[1:-1]]}" if name.startswith("{") else text


def dry_text(sent: Sent) -> str:
    """What `--dry-run` prints of each job: the command line, the script that it would send, and what its first task would start."""
    return "\n".join(
        f"$ {shlex.join(script.command)}\n{script.text}{_first_task(job, script)}:\n  {shlex.join(script.start)}\n"
        for job in sent.jobs
        if (script := sent.scripts.get(job.name))
    )


def _first_task(job: Job, script: Script) -> str:
    if job.group is None:
        return "starts"
    num_units = len(script.units[0])
    num_workers = min(job.gpus, num_units)
    workers = f", by {num_workers} workers with a part of its units each" if num_workers > 1 else ""
    return f"task 0 of {job.size} starts, for {num_units} of {sum(map(len, script.units))} units{workers}"
