"""A run of the fake flow made in this process, its plan, and a fake Slurm: what the tests of pipeline/slurm begin with."""

from dataclasses import dataclass, field
from pathlib import Path

from pipeline import graph
from pipeline.config import read_yaml
from pipeline.describe import RunPlan
from pipeline.paths import RunPaths
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

    def __post_init__(self) -> None:
        write_config(self.folder, num_units=self.num_units)

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.folder / "run")

    @property
    def plan(self) -> RunPlan:
        config = read_yaml(self.folder / "recipe.yaml")
        config["run"]["execution"] = self.execution
        return RunPlan(config=config, paths=self.paths, num_units=self.num_units, num_images=36, digests=stage_digests(config))

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
