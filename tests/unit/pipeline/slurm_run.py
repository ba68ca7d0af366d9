"""A run of the fake flow made in this process, its plan, and a fake Slurm: what the tests of pipeline/slurm begin with."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline import graph
from pipeline.config import read_yaml
from pipeline.describe import RunPlan
from pipeline.paths import RunPaths
from pipeline.slurm import submission
from pipeline.slurm.attempts import Attempt, attempt_file, write
from pipeline.slurm.site import Resources, SiteConfig
from pipeline.slurm.status import SlurmStatus, status
from pipeline.slurm.submit import Sent, submit
from pipeline.survey import survey
from tests.unit.pipeline.fake_flow import run_stage, stage_digests, write_config
from tests.unit.pipeline.fake_slurm import FakeSlurm

NAMES = [spec.name for spec in graph.STAGES]
ARRAYS = NAMES[1:-1]


@dataclass
class SlurmRun:
    folder: Path
    slurm: FakeSlurm
    num_units: int = 6
    execution: str = "staged"
    said: list[str] = field(default_factory=list)
    checks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        write_config(self.folder, num_units=self.num_units)

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.folder / "run")

    @property
    def plan(self) -> RunPlan:
        config = read_yaml(self.folder / "recipe.yaml")
        config["run"]["execution"] = self.execution
        return RunPlan(
            config=config,
            paths=self.paths,
            num_units=self.num_units,
            num_images=36,
            digests=stage_digests(config),
            checks=self.checks,
        )

    def make(self, *stages: str) -> None:
        for name in stages or NAMES:
            run_stage(read_yaml(self.folder / "recipe.yaml"), name)

    def lose(self, stage: str, *units: int) -> None:
        for unit in units:
            self.paths.done(stage, unit).unlink()

    def submit(self, *, site: SiteConfig | None = None, units_per_task: int = 2, **options: bool) -> Sent:
        site = site or SiteConfig(units_per_task=units_per_task, gpu=Resources(gpus=1, max_running=2))
        return submit(self.plan, site, say=self.said.append, **options)

    def status(self) -> SlurmStatus:
        found = status(self.plan, survey(self.plan))
        assert found is not None
        return found

    def causes(self) -> dict[str, str]:
        return {failure.stage: str(failure.cause) for failure in self.status().failures}


def fail_caption_of_task_1(run: SlurmRun) -> None:
    """Submitted, done up to recrop; of the three tasks of caption one has failed and two run."""
    run.submit()
    run.make("prompts", "generate", "filter", "recrop")
    for name in ("generate-0", "filter-0", "recrop-0"):
        run.slurm.set(name, "COMPLETED")
    run.slurm.set("prompts", "COMPLETED")
    run.slurm.set("caption-0", "RUNNING")
    run.slurm.set("caption-0", "FAILED", "NonZeroExitCode", [1])
    run.slurm.set("annotate-0", "CANCELLED", "DependencyNeverSatisfied", [1])
    run.slurm.set("shard", "CANCELLED", "DependencyNeverSatisfied")
    file = attempt_file(submission.folder(run.paths, 1), "caption-0", 1, 0)
    write(file, Attempt(job_id="1", node="n7", started=1e9, left=2, ended=1e9 + 1800, outcome="failed", cause="program error"))
    log = run.paths.logs / "slurm-0001" / "caption-0-000001.log"
    log.write_text("an old line\n2026 INFO task: submission 1, job caption-0\nValueError: no model\n")
