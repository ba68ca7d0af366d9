"""From what is missing to the jobs of one submission. Pure: nothing is written and Slurm is not asked."""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pipeline import graph
from pipeline.describe import GENERATION, RunPlan
from pipeline.slurm.flight import Flight
from pipeline.slurm.packing import Window, pack, starting_stages, windows
from pipeline.slurm.site import SiteConfig
from pipeline.slurm.submission import Job, Submission, job_name
from pipeline.survey import StageSurvey

UNIT_STAGES = tuple(spec.name for spec in graph.CHAIN)
_NAMES = [spec.name for spec in graph.STAGES]
FIRST = tuple(name for name in _NAMES[: _NAMES.index(UNIT_STAGES[0])])  # single stages that the chain begins with: prompts
LAST = tuple(name for name in _NAMES[_NAMES.index(UNIT_STAGES[-1]) + 1 :])  # and ends with: shard

ENDS = (UNIT_STAGES[-1], graph.FUSED)  # the stage commands that make the last stage of the chain


@dataclass(frozen=True, slots=True)
class Draft:
    """A submission that nobody has sent yet. windows: job name -> its share; replaces: queued jobs that it makes useless."""

    submission: Submission
    windows: dict[str, Window]
    replaces: list[Job]
    num_waiting: int  # units that earlier submissions still have in the queue

    @property
    def num_units(self) -> int:
        return sum(len(task) for group in self.submission.groups for task in group)


def draft(
    plan: RunPlan,
    stages: Sequence[StageSurvey],
    site: SiteConfig,
    flight: Flight,
    *,
    number: int,
    max_array_size: int,
    only: Collection[int] | None = None,
) -> Draft:
    """The jobs that make what is missing and not in the queue; a draft without jobs if that is nothing.

    only: leave out other units, although they are missing.
    """
    missing = {stage.spec.name: stage.missing for stage in stages}
    unfinished = starting_stages(UNIT_STAGES, missing)
    starts = {u: s for u, s in unfinished.items() if u not in flight.units and (only is None or u in only)}
    groups = pack(starts, UNIT_STAGES, site.units_per_task, max_array_size)
    submission = Submission(
        number=number,
        created=time.time(),
        state="open",
        digests=plan.digests,
        num_units=plan.num_units,
        worker=list(site.worker) or ([site.python, *GENERATION[1:]] if site.python else list(GENERATION)),
        warning_s=site.warning_s,
        drop_s=site.drop_s,
        fruitless_starts=site.fruitless_starts,
        groups=[[list(task) for task in group.tasks] for group in groups],
        jobs=[],
        checks=plan.checks,
    )
    builder = _Builder(plan, site, submission, {})
    before = builder.first(missing, flight)
    for index, group in enumerate(groups):
        builder.chain(index, group.start, len(group.tasks), before)
    builder.share_windows()
    all_underway = set(unfinished) <= set(starts) | flight.units
    replaces = builder.last(missing, flight, bool(unfinished), before) if all_underway else []
    return Draft(submission, builder.windows, replaces, len(set(unfinished) & flight.units))


@dataclass(slots=True)
class _Builder:
    plan: RunPlan
    site: SiteConfig
    submission: Submission
    windows: dict[str, Window]

    def add(self, stage: str, group: int | None, size: int, after: list[str]) -> Job:
        resources = self.site.resources(stage)
        name = stage if group is None else f"{stage}-{group}"
        job = Job(
            name=name,
            job_name=job_name(self.plan.paths, self.submission.number, self.submission.created, name),
            stage=stage,
            group=group,
            size=size,
            gpus=resources.gpus,
            seconds=resources.seconds,
            after=after,
        )
        self.submission.jobs.append(job)
        self.windows[name] = Window(None, None)
        return job

    def first(self, missing: dict[str, list[int]], flight: Flight) -> list[str]:
        """Jobs before the chain; what the chain waits for."""
        after: list[str] = []
        for stage in FIRST:
            queued = flight.jobs.get(stage, [])
            if enough := [job for job in queued if self.makes_checks(job, flight)]:
                after = [f"afterok:{job.job_id}" for job in enough]
            elif missing[stage]:
                after = [f"afterok:{{{self.add(stage, None, 1, [*after, *(f'afterany:{job.job_id}' for job in queued)]).name}}}"]
        return after

    def makes_checks(self, job: Job, flight: Flight) -> bool:
        """Whether a queued job of a single stage will have made the checks of this plan when it ends well."""
        assert job.job_id is not None, "flight.in_flight gives every job its id"
        return flight.begun.get(job.job_id, self.plan.checks).get(job.stage) == self.plan.checks.get(job.stage)

    def chain(self, group: int, start: str, size: int, before: list[str]) -> None:
        after = before
        for stage in self.commands(start):
            after = [f"aftercorr:{{{self.add(stage, group, size, after).name}}}"]

    def commands(self, start: str) -> tuple[str, ...]:
        """The arrays of units that begin at stage `start`: one each, or one for all if the run is fused and a GPU is wanted anyway."""
        rest = UNIT_STAGES[UNIT_STAGES.index(start) :]
        wants_gpu = any(graph.find(stage).resource == "gpu" for stage in rest)
        return (graph.FUSED,) if self.plan.execution == graph.FUSED and wants_gpu else rest

    def share_windows(self) -> None:
        for stage in (*UNIT_STAGES, graph.FUSED):
            arrays = [job for job in self.submission.jobs if job.stage == stage]
            limit = self.site.resources(stage).max_running
            for job, window in zip(arrays, windows(len(arrays), limit), strict=True):
                self.windows[job.name] = window
                if window.after is not None:
                    job.after = [*job.after, f"afterany:{{{arrays[window.after].name}}}"]

    def last(self, missing: dict[str, list[int]], flight: Flight, unfinished: bool, before: list[str]) -> list[Job]:
        """Jobs behind the chain, or behind what comes `before` it where nothing of the chain is sent; queued ones of earlier submissions
        that wait for less than they now must.
        """
        replaces: list[Job] = []
        sends_earlier = bool(self.submission.jobs)
        ends = [job for job in self.submission.jobs if job.stage in ENDS]
        # what earlier submissions still make may fail: afterok on their arrays could be unsatisfiable already. The stage itself checks
        after = ([f"afterok:{{{job.name}}}" for job in ends] or before) + [
            f"afterany:{job.job_id}" for stage in ENDS for job in flight.jobs.get(stage, [])
        ]
        for stage in LAST:
            queued = flight.jobs.get(stage, [])
            if (queued and not sends_earlier) or not (missing[stage] or unfinished):
                replaces += queued[:-1]  # there are some if a submit could not take them out
                continue
            replaces += queued
            after = [f"afterok:{{{self.add(stage, None, 1, after).name}}}"]
        return replaces
