"""What a training's batch script becomes, `python -m pipeline.slurm.training pretrain CONFIG [--set a.b=c ...]`: one `srun`, watched.

It asks every node whether it is ready and names those that are not, starts the ranks, and decides what their end means: exit code 75 is a
training that was asked to leave and has a checkpoint, so the job goes back into the queue, and so it does when a rank was killed.
OUT/slurm.jsonl has a line a start. A job that starts `FRUITLESS` times in a row without a new checkpoint ends: nothing goes round for ever.
"""

import argparse
import importlib.util
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pipeline import children
from pipeline.config import apply_overrides, of_training, read_yaml
from pipeline.contracts.errors import ConfigError, ProjectError, StageError
from pipeline.logs import TaskLog
from pipeline.nodelist import hosts
from pipeline.signals import Stopped
from pipeline.slurm import client
from pipeline.slurm.task import job_id

PACKAGES = ("pretrain", "finetune")
FRUITLESS = 3  # starts in a row
REQUEUE_S = 60.0  # for slurmctld to take the job back
WAIT_S = 300.0  # for all nodes to answer; PASSERBY_RENDEZVOUS_S changes it, and with it how long ranks wait for each other
READY = "ready:"
ENDED = re.compile(r"^srun: error: \S+: tasks? [\d,-]+: (?:Exited with exit code (\d+)|[A-Z])")
log = logging.getLogger("training")


@dataclass(frozen=True, slots=True)
class Training:
    """A training command and the job that runs it. python: the interpreter on the nodes; out: the training's folder."""

    package: str
    config: Path
    arguments: tuple[str, ...]
    python: str
    out: Path
    job: str

    @property
    def command(self) -> list[str]:
        return [self.python, "-m", self.package, "train", "--config", str(self.config), *self.arguments]

    def newest(self) -> list[str]:
        """The newest checkpoint, of each seed where there are several: equal at two starts if nothing came of the first."""
        pointers = [*self.out.glob("checkpoint/latest"), *self.out.glob("*/checkpoint/latest")]
        return sorted(f"{path.parent.relative_to(self.out)}/{path.read_text(encoding='utf-8').strip()}" for path in pointers)


@dataclass(slots=True)
class Received:
    """Signals that came to the batch script. The ranks get Slurm's themselves; SIGUSR1 may have been meant for the script alone."""

    signals: list[int] = field(default_factory=list)
    child: "subprocess.Popen[bytes] | None" = None

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)
        if number == signal.SIGUSR1 and self.child:
            self.child.send_signal(number)  # srun passes it on to every rank


def run(training: Training) -> int:
    """Check, count, train; the exit code for Slurm. Raises StageError for a node that is not ready or a job that gets nowhere."""
    received = Received()
    for number in (signal.SIGUSR1, signal.SIGTERM):
        signal.signal(number, received.receive)
    count_start(training)
    try:
        check_nodes(training)
    except StageError as err:
        if "SLURM_RESTART_COUNT" not in os.environ:
            raise
        log.error("%s", err)  # a node that died, and Slurm has not noticed yet
        return _come_back(training, received, Stopped.exit_code)
    if received.signals:
        return _come_back(training, received, Stopped.exit_code)
    received.child = children.start(["srun", "--kill-on-bad-exit=1", *training.command], subprocess.PIPE, os.environ)
    if signal.SIGUSR1 in received.signals:  # it came while srun was being started
        received.child.send_signal(signal.SIGUSR1)
    code = watch(received.child)
    if code != Stopped.exit_code and code <= 128:
        log.info("the training ended with exit code %d", code)
        return code
    return _come_back(training, received, code)


def watch(child: "subprocess.Popen[bytes]") -> int:
    """Pass on what srun says until it ends. The exit code of the rank that ended first, 128 + n after signal n; 0 if none failed.

    srun's own code is the largest, and it kills the other ranks when one fails: 137 would stand for every failure.
    """
    first = None
    assert child.stdout is not None
    for line in child.stdout:
        sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        if first is None and (said := ENDED.search(line.decode(errors="replace"))):
            first = int(said[1]) if said[1] else 128 + signal.SIGKILL
    code = child.wait()
    return first if first is not None else code if code >= 0 else 128 - code


def count_start(training: Training) -> None:
    """Raises StageError when this job has started so often without a new checkpoint that another start would do no better."""
    file, newest, count = training.out / "slurm.jsonl", training.newest(), 0
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    for start in reversed([json.loads(line) for line in lines]):
        if (start["job"], start["newest"]) != (training.job, newest):
            break
        count += 1
    if count >= FRUITLESS:
        raise StageError(
            f"{count} starts of job {training.job} in a row brought no checkpoint after {', '.join(newest) or 'none'}; "
            f"see why above, give more --time or a smaller train.save_every, then sbatch again"
        )
    training.out.mkdir(parents=True, exist_ok=True)
    start = {"job": training.job, "started": round(time.time()), "nodes": os.environ.get("SLURM_JOB_NODELIST"), "newest": newest}
    with file.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(start) + "\n")


def check_nodes(training: Training) -> None:
    """One process a node says that it is ready. Raises StageError naming the nodes that did not."""
    nodes = hosts(os.environ["SLURM_JOB_NODELIST"])
    wait_s = float(os.environ.get("PASSERBY_RENDEZVOUS_S", WAIT_S))
    ask = [training.python, "-m", "pipeline.slurm.training", "--check", training.package, str(training.config)]
    argv = ["srun", f"--nodes={len(nodes)}", f"--ntasks={len(nodes)}", "--ntasks-per-node=1", *ask]
    try:
        answers, why = subprocess.run(argv, stdout=subprocess.PIPE, timeout=wait_s, check=False).stdout, "; what they say is above"  # noqa: S603
    except subprocess.TimeoutExpired as err:
        answers, why = err.stdout or b"", f" within {wait_s:g} s"
    ready = {line.split()[1] for line in answers.decode(errors="replace").splitlines() if line.startswith(READY)}
    if absent := [node for node in nodes if node not in ready]:
        raise StageError(f"not ready{why}: {', '.join(absent)}; mend those nodes or leave them out (sbatch --exclude={','.join(absent)})")
    log.info("%d nodes are ready: %s", len(nodes), os.environ["SLURM_JOB_NODELIST"])


def answer(package: str, config: Path) -> int:
    """On a node: can the training start here? 0 and a line on stdout if so."""
    node = os.environ.get("SLURMD_NODENAME", os.uname().nodename)
    lacking = [name for name in (package, "torch") if importlib.util.find_spec(name) is None]
    if lacking or not os.access(config, os.R_OK):
        what = f"has no {' and no '.join(lacking)} for {sys.executable}" if lacking else f"cannot read {config} in {Path.cwd()}"
        print(f"{node} {what}", file=sys.stderr)
        return 1
    print(f"{READY} {node}", flush=True)
    return 0


def _come_back(training: Training, received: Received, code: int) -> int:
    """Into the queue again, unless Slurm does that itself or somebody wants the job gone."""
    if signal.SIGTERM in received.signals:
        state, reason = client.job_state(training.job)
        log.info("Slurm's view of this job: %s, %s", state or "no answer", reason)
        if state in ("CANCELLED", "PENDING") or reason == "JobUser":
            return code
    log.info("exit code %d: back into the queue", code)
    if refusal := client.requeue(training.job, REQUEUE_S):
        raise StageError(f"{refusal}; sbatch again, the training goes on from its checkpoint")
    client.await_requeue()
    return code


def read_training(arguments: Sequence[str]) -> Training:
    """Raises ConfigError outside a job, or for a config that names no folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", choices=PACKAGES)
    parser.add_argument("config", type=Path)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    given, others = parser.parse_known_args(arguments)
    if "SLURM_JOB_ID" not in os.environ:
        raise ConfigError("this runs inside a job: sbatch slurm/pretrain.sbatch CONFIG; outside of Slurm: passerby pretrain CONFIG")
    file, items = of_training(given.config, given.overrides)
    out = apply_overrides(read_yaml(file), items).get("out")
    if not out:
        raise ConfigError(f"{given.config} names no `out`, the folder of the training")
    told = [part for item in given.overrides for part in ("--set", item)]
    python = os.environ.get("PASSERBY_PYTHON", sys.executable)
    return Training(given.package, given.config, (*told, *others), python, Path(out), _own_job())


def _own_job() -> str:
    """A job that was submitted from inside an array has that array's variables. Its id is its own as the id of a task is, but for the one
    task of an array that has the id of the array."""
    return job_id(os.environ, in_array=os.environ["SLURM_JOB_ID"] == os.environ.get("SLURM_ARRAY_JOB_ID"))


def main(arguments: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] == "--check":
        return answer(arguments[1], Path(arguments[2]))
    with TaskLog():
        try:
            return run(read_training(arguments))
        except ProjectError as err:
            log.error("%s: %s", type(err).__name__, err)
            return err.exit_code


if __name__ == "__main__":
    sys.exit(main())
