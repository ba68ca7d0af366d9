"""One run of the fake flow on the test cluster, beside the same run made in this process: what the fault tests compare."""

import os
import signal
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline import graph
from pipeline.config import read_yaml
from pipeline.describe import RunPlan
from pipeline.paths import RunPaths
from pipeline.slurm import attempts, client
from pipeline.slurm.site import Resources, SiteConfig
from pipeline.slurm.status import SlurmStatus, status
from pipeline.slurm.submission import folder, read_all
from pipeline.slurm.submit import Sent, submit
from pipeline.survey import survey
from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.tally import tell
from tests.unit.pipeline.fake_flow import run_stage, snapshot, stage_digests, write_config

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600.0  # a very busy machine needs minutes
WORKER = (sys.executable, "-m", "tests.unit.pipeline.fake_flow")


def site(*, units_per_task: int = 2, **changes: Any) -> SiteConfig:
    """One CPU a task; changes are fields of its Resources, or of the site."""
    names = set(SiteConfig.__dataclass_fields__)
    resources = Resources(**{"cpus": 1, "time_limit": "0:10:00", **{k: v for k, v in changes.items() if k not in names}})
    return SiteConfig(
        **{
            "gpu": replace(resources, gpus=0),
            "cpu": resources,
            "units_per_task": units_per_task,
            "worker": WORKER,
            "setup": (f"export PYTHONPATH={ROOT}",),
            "warning_s": 50,
            "drop_s": 20,
            **{k: v for k, v in changes.items() if k in names},
        }
    )


@dataclass
class Flow:
    """`begin`: stages before it are there from the start, made in this process, so that a test pays only for what it is about."""

    cluster: Cluster
    folder: Path
    begin: str
    num_units: int = 4
    delay_s: float = 0.0  # of each batch; a unit has two
    execution: str = "staged"
    expected: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("local", "slurm"):
            (self.folder / name).mkdir(parents=True)
            write_config(self.folder / name, num_units=self.num_units, delay_s=self.delay_s)
        everything = [spec.name for spec in graph.STAGES]
        self._make("local", everything)
        self._make("slurm", everything[: everything.index(self.begin)])
        self.expected = snapshot(self.folder / "local" / "run")

    def _make(self, name: str, stages: list[str]) -> None:
        config = {**read_yaml(self.folder / name / "recipe.yaml"), "delay_s": 0.0}
        for stage in stages:
            run_stage(config, stage)

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.folder / "slurm" / "run")

    @property
    def plan(self) -> RunPlan:
        config = read_yaml(self.folder / "slurm" / "recipe.yaml")
        config["run"]["execution"] = self.execution
        return RunPlan(
            config=config, paths=self.paths, num_units=self.num_units, num_images=self.num_units * 6, digests=stage_digests(config)
        )

    def submit(self, where: SiteConfig, **options: Any) -> Sent:
        return submit(self.plan, where, say=lambda line: None, **options)

    def status(self) -> SlurmStatus:
        found = status(self.plan, survey(self.plan))
        assert found is not None
        return found

    def causes(self) -> dict[str, str]:
        """stage -> cause of what failed."""
        return {failure.stage: str(failure.cause) for failure in self.status().failures}

    def wait_for_start(self, job: str, element: int = 0) -> None:
        """Until a worker of that task has begun."""
        wait_for(lambda: self.pids(job, element)[1:], PATIENCE_S, f"a worker of {job}, task {element}")

    def pids(self, job: str, element: int = 0) -> list[int]:
        """The process of a task and then its workers, as seen from here."""
        return [pid for kind in ("pipeline.slurm.task", "fake_flow") for pid in task_pids(kind, str(self.paths.root), job, element)]

    def job_id(self, job: str) -> int:
        """Of the newest submission."""
        return next(j.job_id for j in read_all(self.paths)[-1].jobs if j.name == job and j.job_id)

    def attempts(self, job: str, element: int) -> list[attempts.Attempt]:
        return attempts.earlier(folder(self.paths, len(read_all(self.paths))), job, element)

    def wait_for_starts(self, job: str, element: int, count: int) -> None:
        wait_for(lambda: len(self.attempts(job, element)) >= count, PATIENCE_S, f"start {count} of {job}, task {element}")

    def kill(self, job: str, element: int, *, worker: bool) -> None:
        os.kill(self.pids(job, element)[1 if worker else 0], signal.SIGKILL)

    def wait_for_done(self, stage: str, count: int) -> None:
        wait_for(lambda: len(self.paths.done_units(stage)) >= count, PATIENCE_S, f"{count} done units of {stage}")

    def wait_until_over(self) -> None:
        """Until nothing of this run waits or runs."""
        names = {job.job_name for sent in read_all(self.paths) for job in sent.jobs}

        def queued() -> list[client.QueueEntry]:
            return [entry for entry in client.queue() if entry.job_name in names and (entry.is_queued or entry.is_dead)]

        wait_for(lambda: not queued(), PATIENCE_S, lambda: f"the end of {queued()}")

    def finish(self) -> None:
        """Wait for the end; then everything is as the local run has it, and nothing was lost."""
        self.wait_until_over()
        found = snapshot(self.paths.root)
        assert sorted(found) == sorted(self.expected), self.status().failures
        assert found == self.expected
        tell(self.paths)


def task_pids(kind: str, run: str, job: str, element: int) -> list[int]:
    """Processes whose command line names this kind and this run, of a task of this job, as seen from here."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().split(b"\0")
            environment = dict(part.split(b"=", 1) for part in (process / "environ").read_bytes().split(b"\0") if b"=" in part)
        except (OSError, PermissionError):
            continue
        text = b" ".join(line).decode(errors="replace")
        name = environment.get(b"SLURM_JOB_NAME", b"").decode()
        index = environment.get(b"SLURM_ARRAY_TASK_ID", b"0").decode()
        if kind in text and run in text and f"-{job}." in name and index == str(element):
            found.append(int(process.name))
    return found
