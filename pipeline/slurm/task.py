"""What an array task runs on its node, `python -m pipeline.slurm.task --submission FILE --job NAME`: its units' stage command, watched.
With several GPUs it runs once on each, with a part of the units.

It is the batch script's own process (exec), so that Slurm's signals reach it. Asked to leave, it lets the unit in hand finish or drops it
whole, writes down why, and requeues itself; what is done stays done, so the next start goes on with the rest.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from pipeline import children, graph
from pipeline.completion import State, input_digest, is_checked, read_record, unit_state
from pipeline.contracts.errors import ContractError, ProjectError
from pipeline.logs import TaskLog
from pipeline.paths import RunPaths
from pipeline.signals import Stopped
from pipeline.slurm import attempts, client
from pipeline.slurm.causes import Cause
from pipeline.slurm.memory import oom_kills
from pipeline.slurm.submission import Job, Submission, read
from pipeline.slurm.work import shares

log = logging.getLogger("task")
POLL_S = 0.2
TERM_GRACE_S = 10.0  # below Slurm's KillWait (30 s unless the site says otherwise)
_RUNNING, _WARNED, _TERMINATED = range(3)
_SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Place:
    """Which task of what. file: the submission's record; element: index in the array; job_id: Slurm's, of this very task."""

    file: Path
    submission: Submission
    job: Job
    element: int
    job_id: str
    node: str

    @property
    def paths(self) -> RunPaths:
        return RunPaths(self.file.parents[2])

    @property
    def units(self) -> list[int]:
        return self.submission.units(self.job, self.element)

    def left(self) -> list[int]:
        """Units that are to be made, or checked. Raises ContractError if what they are made from is not there."""
        return [unit for unit in self.units if not self._is_done(unit, self.submission.checks)]

    def unmade(self) -> list[int]:
        """`left` once the worker has ended well: it has checked what its config asks for now, which may be more or less than when the
        task was sent.
        """
        return [unit for unit in self.units if not self._is_done(unit, {})]

    def _is_done(self, unit: int, checks: Mapping[str, str]) -> bool:
        """In the stage, or in all stages that the job covers; and it has passed these checks."""
        sent = self.submission
        for spec in graph.covered(self.job.stage):  # behind a stage that is not done nothing is looked at: its input may not be there
            inputs = input_digest(self.paths, graph.sources(spec, unit, sent.num_units))
            record = read_record(self.paths, spec.name, unit)
            if unit_state(self.paths, record, sent.digests[spec.name], inputs) is not State.DONE:
                return False
            if not is_checked(self.paths, spec.name, checks.get(spec.name)):
                return False
        return True


@dataclass(slots=True)
class Asked:
    """Signals that came in; our own clock counts as a warning, for clusters that send none."""

    deadline: float  # monotonic: when to warn ourselves
    signals: list[int] = field(default_factory=list)

    def receive(self, number: int, frame: FrameType | None) -> None:
        self.signals.append(number)

    def look(self) -> int | None:
        """The gravest request so far: SIGTERM, else SIGUSR1, else None."""
        if not self.signals and time.monotonic() > self.deadline:
            self.signals.append(signal.SIGUSR1)
        if not self.signals:
            return None
        return signal.SIGUSR1 if set(self.signals) == {signal.SIGUSR1} else signal.SIGTERM


def run(place: Place) -> int:
    """Do the task's work; the exit code for Slurm: 0 done, 1 failed, 75 left unfinished."""
    asked = Asked(time.monotonic() + place.job.seconds - place.submission.warning_s)
    for number in _SIGNALS:
        signal.signal(number, asked.receive)
    before = attempts.earlier(place.file.parent, place.job.name, place.element)
    file = attempts.attempt_file(place.file.parent, place.job.name, place.element, len(before))
    attempt = attempts.Attempt(job_id=place.job_id, node=place.node, started=time.time(), left=len(place.units))
    try:
        attempt.left = len(place.left())
    except ContractError as err:
        return _end(file, attempt, "failed", Cause.DEPENDENCY, str(err))
    if not attempt.left:
        log.info("all %d units are done already", len(place.units))
        return _end(file, attempt, "done")
    if (count := attempts.fruitless(before, attempt.left)) >= place.submission.fruitless_starts:
        return _end(file, attempt, "failed", Cause.BUDGET, f"{count} starts in a row finished none of {attempt.left} units")
    attempts.write(file, attempt)
    try:
        return _work(place, asked, file, attempt)
    except Exception as err:  # whatever it is: status must be able to name it
        _end(file, attempt, "failed", Cause.PROGRAM, f"{type(err).__name__}: {err}")
        raise


def _work(place: Place, asked: Asked, file: Path, attempt: attempts.Attempt) -> int:
    killed_before = oom_kills()
    code = _command(place, asked, file) if asked.look() is None else Stopped.exit_code
    missing = place.left() if code else place.unmade()
    if not missing:
        return _end(file, attempt, "done")
    if code == Stopped.exit_code or asked.look() is not None:
        return _leave(place, asked, file, attempt)
    if code < 0:
        if oom_kills() > killed_before:
            return _end(file, attempt, "failed", Cause.MEMORY, "the kernel ended the worker for memory")
        name = signal.Signals(-code).name
        log.error("the worker was killed by %s", name)
        return _requeue(place, file, attempt, Cause.KILLED, f"worker killed by {name}")
    if code > 0:
        return _end(file, attempt, "failed", Cause.PROGRAM, f"exit code {code}")
    return _end(file, attempt, "failed", Cause.PROGRAM, f"the worker ended well, but units {missing[:10]} are not done")


def _start(argv: Sequence[str], env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    log.info("%s", " ".join(argv))
    return children.start(argv, None, env)


def _command(place: Place, asked: Asked, file: Path) -> int:
    """Run the stage command over what is left to its end, passing on requests; its exit code, negative after a signal.

    As soon as one of several workers fails the others are killed: its words are to be the last ones in the log. Once they are asked to
    leave they are not: the task is requeued anyway, and one that still loads has no ear for the signal and dies of it.
    """
    workers = [_start(*share) for share in shares(place.paths, place.submission, place.job, place.left())]
    step, end, sign = _RUNNING, float("inf"), time.monotonic()
    while None in (codes := [worker.poll() for worker in workers]) and (asked.look() is not None or not _failures(codes)):
        now, request = time.monotonic(), asked.look()
        if now - sign > attempts.HEARTBEAT_S:
            attempts.sign_of_life(file)
            sign = now
        if request == signal.SIGTERM and step < _TERMINATED:
            log.warning("asked to leave: the unit in hand is dropped")
            _tell(workers, signal.SIGTERM)
            step, end = _TERMINATED, now + TERM_GRACE_S
        elif request == signal.SIGUSR1 and step < _WARNED:
            log.warning("time is nearly up: the unit in hand is finished, then the task is requeued")
            if place.job.group is not None:  # a single stage has but one unit in hand, and no ear for this signal
                _tell(workers, signal.SIGUSR1)
            step, end = _WARNED, now + place.submission.warning_s - place.submission.drop_s
        elif now > end and step == _WARNED:
            log.warning("no time left: the unit in hand is dropped")
            _tell(workers, signal.SIGTERM)
            step, end = _TERMINATED, now + TERM_GRACE_S
        elif now > end:
            _tell(workers, signal.SIGKILL)
        time.sleep(POLL_S)
    children.stop(workers, 0)  # those that others took along, and what ended ones may have left behind
    return (_failures(codes) or [max(code for code in codes if code is not None)])[0]


def _tell(workers: "Sequence[subprocess.Popen[bytes]]", number: int) -> None:
    for worker in workers:
        worker.send_signal(number)  # nothing to one that has ended


def _failures(codes: Sequence[int | None]) -> list[int]:
    """Exit codes that are neither a good end nor that of a worker that was asked to leave."""
    return [code for code in codes if code not in (None, 0, Stopped.exit_code)]


def _leave(place: Place, asked: Asked, file: Path, attempt: attempts.Attempt) -> int:
    """Unfinished on request. After a warning we ask to come back; after SIGTERM that depends on who sent it."""
    if asked.look() == signal.SIGUSR1:
        return _requeue(place, file, attempt, Cause.TIME, "requeued before the time limit")
    state, reason = client.job_state(place.job_id)
    log.info("Slurm's view of this job: %s, %s", state or "no answer", reason)
    # without an answer the record tells: `cancel` has written it while we and the worker took our time
    if state == "CANCELLED" or reason == "JobUser" or (not state and read(place.file).is_withdrawn):
        return _end(file, attempt, "left", Cause.CANCELLED)
    if state == "PENDING":  # Slurm requeues it by itself
        _end(file, attempt, "requeued", Cause.PREEMPTED)
        return Stopped.exit_code
    return _requeue(place, file, attempt, Cause.TIME if "TIME" in state else Cause.PREEMPTED, f"Slurm said {state} {reason}")


def _requeue(place: Place, file: Path, attempt: attempts.Attempt, cause: Cause, detail: str) -> int:
    """Written down before it is asked for: Slurm may end this process at once. drop_s is the time that is left at least."""
    _end(file, attempt, "requeued", cause, detail)
    logging.shutdown()
    if refusal := client.requeue(place.job_id, place.submission.drop_s):
        return _end(file, attempt, "failed", cause, f"{detail}; {refusal}")
    client.await_requeue()
    return Stopped.exit_code


def _end(file: Path, attempt: attempts.Attempt, outcome: str, cause: Cause | None = None, detail: str = "") -> int:
    attempt.ended, attempt.outcome, attempt.cause, attempt.detail = time.time(), outcome, cause, detail
    attempts.write(file, attempt)
    if cause:
        log.warning("%s: %s%s", outcome, cause, f", {detail}" if detail else "")
    return {"done": 0, "left": Stopped.exit_code, "requeued": Stopped.exit_code}.get(outcome, 1)


def job_id(environment: Mapping[str, str], in_array: bool = True) -> str:
    """Slurm's name of this very task: id_index. SLURM_JOB_ID of one task is that of its whole array, and `scontrol requeue` takes it so.

    in_array: whether it can be a task of an array; a job that was submitted from inside one inherits the variables of that array.
    """
    array = environment.get("SLURM_ARRAY_JOB_ID") if in_array else None
    return f"{array}_{environment['SLURM_ARRAY_TASK_ID']}" if array else environment.get("SLURM_JOB_ID", "")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--submission", type=Path, required=True)
    parser.add_argument("--job", required=True)
    given = parser.parse_args(arguments)
    with TaskLog():
        try:
            submission = read(given.submission)
            job = submission.job(given.job)
            in_array = job.group is not None
            element = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0")) if in_array else 0
            node = os.environ.get("SLURMD_NODENAME", os.uname().nodename)
            place = Place(given.submission, submission, job, element, job_id(os.environ, in_array), node)
            log.info("submission %d, job %s, task %d of %d, on %s", submission.number, job.name, element, job.size, node)
            return run(place)
        except ProjectError as err:
            log.error("%s: %s", type(err).__name__, err)
            return err.exit_code


if __name__ == "__main__":
    sys.exit(main())
