"""What was submitted: RUN/slurm/NNNN/submission.json beside the scripts that it names. Written by submit, read by tasks, status and cancel.

The record is on disk before the first sbatch and again after each one, so that a submit killed in between leaves nothing unknown: a job
whose id was not written down is found in the queue by its name, which no other job has.
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.contracts.errors import ContractError
from pipeline.fileio import digest, read_json, write_json
from pipeline.paths import RunPaths

FILE = "submission.json"


@dataclass(slots=True, kw_only=True)
class Job:
    """One sbatch: an array of a unit stage or of the fused chain (one element a task of its group), or the one job of a single stage (group
    None)."""

    name: str  # key in the submission, script file and log: generate-0
    job_name: str  # what Slurm shows; unique over all submissions of the user
    stage: str  # the stage command: a stage, or fused for all of the chain
    group: int | None
    size: int  # tasks
    gpus: int  # of a task
    seconds: int  # time limit of a task
    after: list[str] = field(default_factory=list)  # dependencies, with the names of jobs of this submission in {braces}
    job_id: int | None = None


@dataclass(slots=True, kw_only=True)
class Submission:
    """groups[g][i]: units of task i. state: open until the last sbatch has answered."""

    number: int
    created: float  # seconds since 1970
    state: Literal["open", "submitted", "abandoned", "cancelled"]
    digests: dict[str, str]  # stage -> config digest at submission
    num_units: int
    worker: list[str]  # the stage command up to the stage's name
    warning_s: int
    drop_s: int
    fruitless_starts: int
    groups: list[list[list[int]]]
    jobs: list[Job]
    checks: dict[str, str]  # stage -> what its output must have passed

    @property
    def is_withdrawn(self) -> bool:
        """Whether its tasks were taken out of the queue: what they have not made they are not to make."""
        return self.state in ("abandoned", "cancelled")

    def job(self, name: str) -> Job:
        """Raises ContractError if there is none of that name."""
        for job in self.jobs:
            if job.name == name:
                return job
        raise ContractError(f"submission {self.number} has no job {name!r}; its jobs: {', '.join(j.name for j in self.jobs)}")

    def units(self, job: Job, element: int) -> list[int]:
        return [0] if job.group is None else self.groups[job.group][element]


def folder(paths: RunPaths, number: int) -> Path:
    return paths.slurm / f"{number:04d}"


def job_name(paths: RunPaths, number: int, created: float, name: str) -> str:
    """For example market-generate-0.0001.3f9a2c: readable, and unique over run folders and over runs that one folder has held one after
    the other, so that the queue can be asked for it."""
    readable = "".join(c if c.isalnum() or c in "_-" else "_" for c in paths.root.absolute().name)[:24]
    return f"{readable}-{name}.{number:04d}.{digest([str(paths.root.resolve()), created])[:6]}"


def write(paths: RunPaths, submission: Submission) -> None:
    write_json(folder(paths, submission.number) / FILE, dataclasses.asdict(submission))


def read(path: Path) -> Submission:
    """Raises ContractError on a file that is not a submission."""
    data: Any = read_json(path)
    try:
        return Submission(**{**data, "jobs": [Job(**job) for job in data["jobs"]]})
    except (KeyError, TypeError) as err:
        raise ContractError(f"{path} is not the record of a submission ({err}); remove its folder and submit again") from err


def read_all(paths: RunPaths) -> list[Submission]:
    """Oldest first."""
    return [read(path) for path in sorted(paths.slurm.glob(f"[0-9]*/{FILE}"))]


def next_number(submissions: Iterable[Submission]) -> int:
    return max((s.number for s in submissions), default=0) + 1
