"""A task of several GPUs: one worker each. The GPUs are names, the workers real processes."""

import os
import signal
import sys

import pytest

from pipeline.slurm.causes import Cause
from pipeline.slurm.task import run
from tests.unit.pipeline.slurm_task import WORKER, last, left, when_started, with_step


@pytest.fixture
def place(place, monkeypatch):
    place.job.gpus = 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-b")
    return place


def test_each_gpu_has_a_worker_with_its_part_of_the_units(place, tmp_path):
    told = tmp_path / "told"
    told.mkdir()
    place.submission.worker = ["sh", "-c", f'echo "$@" $PASSERBY_CPUS > {told}/$CUDA_VISIBLE_DEVICES', "sh"]
    assert run(place) == 1, "they have made nothing"
    cores = max(len(os.sched_getaffinity(0)) // 2, 1)
    assert (told / "3").read_text().endswith(f"--units 0,2 {cores}\n")
    assert (told / "GPU-b").read_text().endswith(f"--units 1,3 {cores}\n")
    assert run(with_step(place, 0)) == 0
    assert left(place) == []


def test_devices_may_be_listed_with_blanks(place, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 1")
    place.submission.worker = ["sh", "-c", f'touch "{tmp_path}/device=$CUDA_VISIBLE_DEVICES"', "sh"]
    assert run(place) == 1
    assert sorted(path.name for path in tmp_path.glob("device=*")) == ["device=0", "device=1"]


def test_a_last_unit_is_the_work_of_one_of_them(place, tmp_path):
    for unit in (0, 1, 3):
        (place.paths.root / "away" / f"{unit:06d}.json").rename(place.paths.done("annotate", unit))
    told = tmp_path / "told"
    place.submission.worker = ["sh", "-c", f'echo $CUDA_VISIBLE_DEVICES "$@" >> {told}', "sh"]
    assert run(place) == 1
    (line,) = told.read_text().splitlines()
    assert (line.split()[0], line.split()[-1]) == ("3", "2")


def test_after_a_warning_both_finish_the_unit_in_hand(place, task_slurm):
    when_started(place, signal.SIGUSR1, workers=2)
    assert run(with_step(place, 2)) == 75
    assert left(place)
    assert {"000000.json", "000001.json"}.isdisjoint(left(place))
    assert (last(place).outcome, last(place).cause) == ("requeued", Cause.TIME)
    assert run(with_step(place, 0)) == 0


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM])
def test_a_request_while_one_still_loads_leaves_the_other_the_time_it_needs(place, task_slurm, tmp_path, number):
    """The one has no handlers yet, and dies of the signal."""
    started = f"touch {place.paths.root}/started-$$"
    listens = f"trap 'sleep 0.5; touch {tmp_path}/finished; exit 75' USR1 TERM; {started}; while :; do sleep 0.05; done"
    place.submission.worker = ["sh", "-c", f"if [ $CUDA_VISIBLE_DEVICES = 3 ]; then {started}; exec sleep 60; fi; {listens}"]
    when_started(place, number, workers=2)
    assert run(place) == 75
    assert (tmp_path / "finished").exists()
    assert (last(place).outcome, last(place).cause) == ("requeued", Cause.TIME if number == signal.SIGUSR1 else Cause.PREEMPTED)


def test_asked_to_go_at_once_both_drop_their_units(place, task_slurm):
    when_started(place, signal.SIGTERM, workers=2)
    assert run(with_step(place, 60)) == 75
    assert len(left(place)) == 4


@pytest.mark.parametrize(
    ("end", "code", "outcome", "cause"),
    [("kill -9 $$", 75, "requeued", Cause.KILLED), ("exit 3", 1, "failed", Cause.PROGRAM)],
)
def test_when_one_ends_badly_the_other_goes_too_and_the_task_ends_as_with_one_worker(place, tmp_path, end, code, outcome, cause):
    (tmp_path / "worker.py").write_text(WORKER)
    other = f"echo $$ > {tmp_path}/pid; exec {sys.executable} {tmp_path}/worker.py {place.paths.root} 600"
    script = f'if [ $CUDA_VISIBLE_DEVICES = 3 ]; then while [ ! -s {tmp_path}/pid ]; do sleep 0.02; done; {end}; fi; {other} "$@"'
    place.submission.worker = ["sh", "-c", script, "sh"]
    assert run(place) == code
    assert (last(place).outcome, last(place).cause, len(left(place))) == (outcome, cause, 4)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
