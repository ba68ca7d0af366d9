"""A Slurm of a few lines: takes scripts, keeps a queue that tests change by hand, speaks the text formats of 22.05."""

import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class FakeJob:
    job_id: int
    name: str
    elements: list[int] | None  # None: no array
    dependency: str
    script: str
    window: str = ""
    states: dict[int, tuple[str, str]] = field(default_factory=dict)  # element -> state, reason


@dataclass
class FakeSlurm:
    """refuse: job names (their beginnings) that sbatch refuses. late: those that it takes, but whose ids it does not tell.

    alive: whether slurmctld answers. deaf: whether it does not hear scancel.
    """

    max_array_size: int = 1001
    refuse: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    alive: bool = True
    deaf: bool = False
    jobs: list[FakeJob] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    next_id: int = 100

    def __call__(self, argv: list[str], timeout_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        self.calls.append(list(argv))
        if not self.alive:
            return _answer(1, "", "Unable to contact slurm controller (connect failure)")
        return {"sbatch": self._sbatch, "squeue": self._squeue, "scancel": self._scancel, "scontrol": self._scontrol}[argv[0]](argv[1:])

    def job(self, name: str) -> FakeJob:
        """The newest job of that name in its submission: generate-0."""
        return [job for job in self.jobs if f"-{name}." in job.name][-1]

    def set(self, name: str, state: str, reason: str = "None", elements: list[int] | None = None) -> None:
        job = self.job(name)
        for element in elements if elements is not None else job.elements or [0]:
            job.states[element] = (state, reason)

    def _sbatch(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        script = Path(arguments[-1]).read_text()
        name = _option(script, "job-name")
        if any(f"-{part}" in name for part in self.refuse):
            return _answer(1, "", "sbatch: error: invalid partition specified: nowhere")
        array, _, window = _option(script, "array").partition("%")
        elements = list(range(int(array.split("-")[1]) + 1)) if array else None
        dependency = next((a.split("=", 1)[1] for a in arguments if a.startswith("--dependency=")), "")
        job = FakeJob(self.next_id, name, elements, dependency, script, window)
        self.next_id += 10
        job.states = dict.fromkeys(elements or [0], ("PENDING", "Dependency" if dependency else "Priority"))
        self.jobs.append(job)
        if any(f"-{part}" in name for part in self.late):
            return _answer(1, "", "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
        return _answer(0, f"{job.job_id}\n")

    def _squeue(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        lines = []
        for job in self.jobs:
            for element, (state, reason) in job.states.items():
                index = "N/A" if job.elements is None else str(element)
                lines.append(f"{job.job_id + element}|{job.job_id}|{index}|{state}|n1|{job.name}|{reason}")
        return _answer(0, "\n".join(lines) + "\n")

    def _scancel(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        if self.deaf:
            return _answer(1, "", "scancel: error: Kill job error on job id 110: Socket timed out on send/recv operation")
        for name in arguments[1:]:
            number, _, element = name.partition("_")
            for job in self.jobs:
                if job.job_id == int(number):
                    for e in [int(element)] if element else list(job.states):
                        if job.states[e][0] == "PENDING":
                            job.states[e] = ("CANCELLED", "None")
                        elif job.states[e][0] == "RUNNING":  # until its processes are gone
                            job.states[e] = ("COMPLETING", "None")
        return _answer(0, "")

    def _scontrol(self, arguments: list[str]) -> "subprocess.CompletedProcess[str]":
        return _answer(0, f"MaxArraySize            = {self.max_array_size}\nMaxJobCount = 10000\n")


def _option(script: str, name: str) -> str:
    match = re.search(rf"^#SBATCH --{name}=(.*)$", script, re.MULTILINE)
    return match.group(1) if match else ""


def _answer(code: int, out: str, err: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.CompletedProcess([], code, out, err)
