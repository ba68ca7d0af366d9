"""What becomes of a training job when its ranks end, with a fake srun and a fake slurmctld; the real ones: tests/slurm."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.slurm import client, training
from pipeline.slurm.training import ENDED, main, read_training

# Nodes answer unless in $ABSENT; the training does what $TRAINING says. $PPID is the process of the batch script.
SRUN = """#!/bin/bash
case "$*" in
  *--check*)
    for node in a1 a2; do [ "$node" = "$ABSENT" ] || echo "ready: $node"; done
    [ -z "$ABSENT" ] || { sleep "${HANG:-0}"; exit 1; } ;;
  *) echo "$*"; eval "$TRAINING" ;;
esac
"""


class Controller:
    """Answers scontrol: remembers requeues, says `state` of the job."""

    def __init__(self) -> None:
        self.state, self.requeued, self.takes = "JobState=RUNNING Reason=None", [], True

    def __call__(self, argv: list[str], timeout_s: float = 60.0) -> "subprocess.CompletedProcess[str]":
        if argv[1] == "requeue":
            self.requeued.append(argv[2])
            return subprocess.CompletedProcess([], 0 if self.takes else 1, "", "")
        return subprocess.CompletedProcess([], 0, self.state, "")


@pytest.fixture
def controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Controller]:
    srun, controller = tmp_path / "bin" / "srun", Controller()
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    (tmp_path / "recipe.yaml").write_text(f"out: {tmp_path / 'out'}\n")
    for name, value in {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "a[1-2]", "PATH": f"{srun.parent}:{os.environ['PATH']}"}.items():
        monkeypatch.setenv(name, value)
    for name in ("SLURM_RESTART_COUNT", "SLURM_ARRAY_JOB_ID", "PASSERBY_PYTHON", "ABSENT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(client, "call", controller)
    monkeypatch.setattr(client, "REQUEUED_S", 0.01)
    monkeypatch.setattr(training, "REQUEUE_S", 0.01)
    before = {number: signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGTERM)}
    yield controller
    for number, handler in before.items():
        signal.signal(number, handler)


def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, *arguments: str) -> int:
    monkeypatch.setenv("TRAINING", script)
    return main(["pretrain", str(tmp_path / "recipe.yaml"), *arguments])


def save(tmp_path: Path, step: int) -> None:
    (tmp_path / "out" / "checkpoint").mkdir(parents=True, exist_ok=True)
    (tmp_path / "out" / "checkpoint" / "latest").write_text(f"step-{step}\n")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("srun: error: n1: task 0: Exited with exit code 1", "1"),
        ("srun: error: gpu-07.x: tasks 0-3,5: Exited with exit code 75", "75"),
        ("srun: error: n2: task 1: Killed", None),
        ("srun: error: n2: task 1: Segmentation fault (core dumped)", None),
    ],
)
def test_the_end_of_a_rank_is_read_from_what_srun_says(line: str, code: str | None) -> None:
    said = ENDED.search(line)
    assert said is not None
    assert said[1] == code
    assert not ENDED.search(f"13:12:11 {line}")


@pytest.mark.parametrize(
    ("script", "code", "comes_back"),
    [
        ("exit 0", 0, False),
        ("echo 'srun: error: a1: task 0: Exited with exit code 1'; echo 'srun: error: a2: task 1: Killed' >&2; exit 137", 1, False),
        ("echo 'srun: error: a1: tasks 0-1: Exited with exit code 2' >&2; exit 2", 2, False),
        ("echo 'srun: error: a1: task 0: Exited with exit code 75' >&2; echo 'srun: error: a2: task 1: Killed' >&2; exit 137", 75, True),
        ("echo 'srun: error: a2: task 1: Killed' >&2; echo 'srun: error: a1: task 0: Exited with exit code 1' >&2; exit 137", 137, True),
        ("exit 134", 134, True),
        ("trap 'exit 75' USR1; kill -USR1 $PPID; for i in {1..100}; do sleep 0.05; done", 75, True),
    ],
)
def test_the_first_rank_that_ended_decides_whether_the_job_comes_back(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, code: int, comes_back: bool
) -> None:
    """The last case: a warning to the batch script alone is passed on."""
    assert start(tmp_path, monkeypatch, script) == code
    assert controller.requeued == (["7"] if comes_back else [])


@pytest.mark.parametrize(
    ("state", "comes_back"),
    [
        ("JobState=COMPLETING Reason=None EndTime=2025-11-21T16:46:43", False),
        ("JobState=COMPLETING Reason=None EndTime=Unknown", False),
        ("JobState=COMPLETING Reason=TimeLimit EndTime=2025-11-21T16:46:43", True),
        ("JobState=COMPLETING Reason=None EndTime=2025-11-21T16:46:43 PreemptTime=2025-11-21T16:46:13", True),
        ("JobState=RUNNING Reason=None EndTime=2025-11-21T17:46:43", True),
    ],
)
def test_after_sigterm_a_job_comes_back_unless_it_was_cancelled_or_slurm_sees_to_it(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, comes_back: bool
) -> None:
    controller.state = state
    assert start(tmp_path, monkeypatch, "kill -TERM $PPID; sleep 0.3; exit 75") == 75
    assert bool(controller.requeued) == comes_back


def test_three_starts_without_a_new_checkpoint_are_the_last(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2, 2, 2):  # before each start; only the first brought something
        save(tmp_path, step)
        assert start(tmp_path, monkeypatch, "exit 75") == 75
    assert start(tmp_path, monkeypatch, "exit 75") == 1
    assert "3 starts of job 7 in a row brought no checkpoint after checkpoint/step-2" in capsys.readouterr().err
    starts = [json.loads(line) for line in (tmp_path / "out" / "slurm.jsonl").read_text().splitlines()]
    assert [start["newest"] for start in starts] == [["checkpoint/step-1"], *[["checkpoint/step-2"]] * 3]
    monkeypatch.setenv("SLURM_JOB_ID", "8")  # sent again by a user
    assert start(tmp_path, monkeypatch, "exit 0") == 0


def test_a_node_that_does_not_answer_is_named_and_ends_a_first_start_but_not_a_later_one(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"ABSENT": "a2", "HANG": "10", "PASSERBY_RENDEZVOUS_S": "0.5"}.items():
        monkeypatch.setenv(name, value)
    assert start(tmp_path, monkeypatch, "exit 0") == 1
    assert "not ready within 0.5 s: a2; mend those nodes or leave them out (sbatch --exclude=a2)" in capsys.readouterr().err
    assert controller.requeued == []
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert start(tmp_path, monkeypatch, "exit 0") == 75
    assert controller.requeued == ["7"]


def test_a_requeue_that_is_refused_is_told(controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    controller.takes = False
    monkeypatch.setenv("TRAINING", "exit 75")
    with pytest.raises(StageError, match="sbatch again, the training goes on from its checkpoint"):
        training.run(read_training(["pretrain", str(tmp_path / "recipe.yaml")]))


@pytest.mark.parametrize(("job", "requeued"), [("200", "200"), ("99", "99_3")])
def test_what_is_requeued_is_this_job_and_nobody_elses(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, requeued: str
) -> None:
    """200: another task of the array 99, or a job that task 3 of it has submitted; 99: the task that has the array's own id."""
    for name, value in {"SLURM_JOB_ID": job, "SLURM_ARRAY_JOB_ID": "99", "SLURM_ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(name, value)
    assert start(tmp_path, monkeypatch, "exit 75") == 75
    assert controller.requeued == [requeued]


def test_arguments_reach_the_training_and_those_it_cannot_run_with_are_refused(
    controller: Controller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    assert start(tmp_path, monkeypatch, "exit 0", "--set", f"out={other}", "--set", "train.steps=2", "--paper-protocol") == 0
    assert f"-m pretrain train --config {tmp_path / 'recipe.yaml'} --set out={other} --set train.steps=2" in capfd.readouterr().out
    assert (other / "slurm.jsonl").exists()
    (tmp_path / "bare.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="names no `out`"):
        read_training(["pretrain", str(tmp_path / "bare.yaml")])
    monkeypatch.delenv("SLURM_JOB_ID")
    with pytest.raises(ConfigError, match="passerby pretrain CONFIG"):
        read_training(["pretrain", str(tmp_path / "recipe.yaml")])
