"""The four Slurm commands that are used, as functions. Their text formats are known here and nowhere else."""

import getpass
import logging
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.unit_list import read_span

log = logging.getLogger(__name__)
_TIMEOUT_S = 60.0
STATE_TIMEOUT_S = 10.0  # for a task that was told to go: its worker took as long, and Slurm ends it KillWait (30 s) after the word
REQUEUE_POLL_S = 5.0
REQUEUED_S = 120.0  # Slurm ends us meanwhile
REQUEUE_TIMEOUT_S = 5.0  # a second attempt is to fit in before KillWait is over
# Of sbatch's variables these hold where the script says nothing: what sites have their users set. All others (SBATCH_SIGNAL, SBATCH_WAIT,
# SBATCH_TIMELIMIT, SBATCH_JOB_NAME ...) would overrule lines of the script that tasks rely on.
_SBATCH_MAY = ("SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_CONSTRAINT", "SBATCH_RESERVATION", "SBATCH_EXPORT")
_NOT_OURS = ("SBATCH_", "SQUEUE_", "SCANCEL_", "SLURM_CLUSTERS", "SLURM_TIME_FORMAT")  # they hide jobs, or change how times are written
_FIELDS = "%A|%F|%K|%T|%N|%j|%r"  # the reason last: it may hold anything
WAITING = frozenset({"PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING"})


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One task as Slurm knows it. element: index in its array, 0 for a job that is none. state: as in squeue, e.g. OUT_OF_MEMORY."""

    array_id: int
    element: int
    state: str
    reason: str
    node: str
    job_name: str

    @property
    def is_dead(self) -> bool:
        """Waiting for something that cannot happen any more."""
        return self.state == "PENDING" and self.reason == "DependencyNeverSatisfied"

    @property
    def is_ending(self) -> bool:
        """Its processes are being ended, which takes up to Slurm's KillWait; it may have been put back into the queue all the same."""
        return self.state == "COMPLETING"

    @property
    def is_queued(self) -> bool:
        """Waiting or running: Slurm will still do something about it."""
        return (self.state in WAITING and not self.is_dead) or self.state in RUNNING


def submit(script: Path, dependency: Sequence[str]) -> int:
    """sbatch; returns the job id. Raises StageError with Slurm's own words if it refuses."""
    argv = submit_command(script, dependency)
    text = _run(argv).strip()
    match = re.match(r"(\d+)(;|$)", text.splitlines()[-1] if text else "")
    if match is None:
        raise StageError(f"`{' '.join(argv)}` answered {text!r}, which is no job id")
    return int(match.group(1))


def submit_command(script: Path, dependency: Sequence[str]) -> list[str]:
    depends = [f"--dependency={','.join(dependency)}"] if dependency else []
    return ["sbatch", "--parsable", *depends, str(script)]


def queue() -> list[QueueEntry]:
    """All jobs of this user that slurmctld still knows, ended ones too (for MinJobAge seconds), one entry a task."""
    text = _run(["squeue", "--noheader", "--states=all", f"--user={getpass.getuser()}", f"--format={_FIELDS}"])
    return [entry for line in text.splitlines() for entry in parse_line(line)]


def parse_line(line: str) -> Iterator[QueueEntry]:
    """One line of `queue`; an array's waiting tasks share a line, which gives one entry each."""
    parts = line.split("|", 6)
    if len(parts) < 7:
        return
    job_id, array_id, index, state, node, name, reason = (part.strip() for part in parts)
    for element in parse_indices(index):
        yield QueueEntry(int(array_id if index != "N/A" else job_id), element, state, reason.strip("()"), node, name)


def parse_indices(text: str) -> list[int]:
    """`7`, `3-5,9`, `0-8:4`, `1-3%2` and, for what is no array, `N/A`, which counts as 0."""
    if text in ("", "N/A"):
        return [0]
    indices: list[int] = []
    for part in text.strip("[]").split("%")[0].split(","):
        if (span := read_span(part)) is None:
            raise StageError(f"squeue names array tasks {text!r}, which cannot be read; set SLURM_BITSTR_LEN=0 if the list is cut off")
        first, last, step = span
        indices += range(first, last + 1, step)
    return indices


def cancel(jobs: Iterable[int | str]) -> str:
    """scancel of job ids, or of tasks as `id_index`; those that have ended are no error. What it complains of, "" if nothing."""
    names = [str(job) for job in jobs]
    done = call(["scancel", "--quiet", *names]) if names else None
    return (_short(done.stderr) or f"exit code {done.returncode}") if done and done.returncode else ""


def job_state(job_id: str) -> tuple[str, str]:
    """(state, reason) of a job from scontrol, ("", "") if Slurm does not answer. Used on the nodes, by a task about itself.

    While its processes are being ended scontrol says COMPLETING whatever comes next; here the state is what comes next: PENDING for a job
    that Slurm has put back into the queue (it has no end, or one that the backfill scheduler expects), TIMEOUT, PREEMPTED where a partition
    preempts by cancelling, else CANCELLED.
    """
    try:
        text = _run(["scontrol", "--oneliner", "show", "job", job_id], STATE_TIMEOUT_S)
    except StageError as err:
        log.warning("%s", err)
        return "", ""
    said = dict(re.findall(r"\b(JobState|Reason|EndTime|StartTime|PreemptTime)=(\S+)", text))
    state, reason = said.get("JobState", ""), said.get("Reason", "")
    return _next_state(said) if state == "COMPLETING" else state, reason


def _next_state(said: Mapping[str, str]) -> str:
    later = datetime.now() + timedelta(seconds=30)  # clocks differ; an expected end is a time limit away, a minute or more
    end = said.get("EndTime", "")
    if end == "Unknown" or (end[:1].isdigit() and end > later.isoformat()):  # times sort as text; "None", "N/A" are none
        return "PENDING"
    if said.get("Reason") == "TimeLimit":
        return "TIMEOUT"
    preempted = said.get("PreemptTime", "None")  # or of an earlier start
    is_preempted = preempted[:1].isdigit() and preempted >= said.get("StartTime", "")
    return "PREEMPTED" if is_preempted else "CANCELLED"


def requeue(job_id: str, patience_s: float) -> str:
    """scontrol requeue, again and again while slurmctld is too busy to answer; "" once it has taken it, else its last refusal."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            _run(["scontrol", "requeue", job_id], REQUEUE_TIMEOUT_S)
            return ""
        except StageError as err:
            if time.monotonic() + REQUEUE_POLL_S > deadline:
                return str(err)
            log.warning("%s; once more", err)
        time.sleep(REQUEUE_POLL_S)


def await_requeue() -> None:
    """After `requeue` Slurm ends this process; ending first would be taken for the end of the job."""
    time.sleep(REQUEUED_S)


def max_array_size() -> int:
    """MaxArraySize of the cluster: indices run from 0 to one less. Raises StageError if scontrol does not say."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", _run(["scontrol", "show", "config"]), re.MULTILINE)
    if match is None:
        raise StageError("`scontrol show config` names no MaxArraySize; set max_array_size in the site config")
    if int(match.group(1)) < 1:
        raise ConfigError("MaxArraySize is 0: this cluster allows no job arrays")
    return int(match.group(1))


def _run(argv: Sequence[str], timeout_s: float = _TIMEOUT_S) -> str:
    done = call(argv, timeout_s)
    if done.returncode != 0:
        raise StageError(f"`{' '.join(argv)}` failed: {_short(done.stderr) or done.returncode}")
    return done.stdout


def _short(text: str) -> str:
    """The first complaint and the last one: between them Slurm says where else it has looked."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ... ".join(dict.fromkeys((lines[0], lines[-1]))) if lines else ""


def call(argv: Sequence[str], timeout_s: float = _TIMEOUT_S) -> "subprocess.CompletedProcess[str]":
    """Run one of Slurm's commands. Raises ConfigError where it is not installed, StageError if it gives no answer in time."""
    env = _environment(argv)
    try:  # names of other jobs may hold any bytes
        return subprocess.run(list(argv), capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, env=env)  # noqa: S603
    except FileNotFoundError as err:
        raise ConfigError(f"{argv[0]} is not on PATH; Slurm's commands are needed here, `passerby run` works without") from err
    except subprocess.TimeoutExpired as err:
        raise StageError(f"`{' '.join(argv)}` gave no answer in {timeout_s:g} s") from err


def _environment(argv: Sequence[str]) -> dict[str, str]:
    """Ours, without what would have Slurm's commands do something else than their arguments and scripts say."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_OURS)}
    if argv[0] == "sbatch":
        said = _said(Path(argv[-1]))
        env |= {name: os.environ[name] for name in _SBATCH_MAY if name in os.environ and name not in said}
    return {**env, "SLURM_BITSTR_LEN": "0", "LC_ALL": "C"}  # 0: long lists of array tasks are not cut off


def _said(script: Path) -> set[str]:
    """The options of a batch script, by the names of sbatch's variables for them."""
    text = script.read_text(encoding="utf-8") if script.is_file() else ""  # if there is none sbatch says so itself
    return {f"SBATCH_{option.upper()}" for option in re.findall(r"^#SBATCH --(\w+)=", text, re.MULTILINE)}
