"""What a task does on its node, in this process: Slurm is fake, workers are real processes that move prepared records into place."""

import dataclasses
import signal
import subprocess

import pytest

from pipeline.contracts.errors import ContractError, StageError
from pipeline.slurm import attempts, client, submission, task
from pipeline.slurm.causes import Cause
from pipeline.slurm.task import job_id, run
from tests.unit.pipeline.slurm_task import last, left, when_started, with_step


def test_a_task_makes_its_units_and_says_so(place):
    assert run(with_step(place, 0)) == 0
    assert left(place) == []
    assert (last(place).outcome, last(place).left) == ("done", 4)
    assert run(with_step(place, 0)) == 0, "a second start finds nothing to do"
    assert last(place).left == 0


def test_a_fused_task_has_left_what_any_stage_of_the_chain_lacks(place):
    place.job.stage = "fused"
    for unit in range(4):
        (place.paths.root / "away" / f"{unit:06d}.json").rename(place.paths.done("annotate", unit))
    assert place.left() == []
    place.paths.done("filter", 2).unlink()  # of later stages nothing can be said then
    place.paths.done("annotate", 3).unlink()
    assert place.left() == [2, 3]


def test_scattered_units_are_one_start_of_the_worker(place, tmp_path):
    for unit in (1, 2):
        (place.paths.root / "away" / f"{unit:06d}.json").rename(place.paths.done("annotate", unit))
    told = tmp_path / "told"
    place.submission.worker = ["sh", "-c", f'echo "$@" >> {told}', "sh"]
    assert run(place) == 1
    (line,) = told.read_text().splitlines()
    assert line.endswith("--units 0,3")


def test_after_a_warning_the_unit_in_hand_is_finished_and_the_task_requeued(place, task_slurm):
    when_started(place, signal.SIGUSR1)
    assert run(with_step(place, 0.5)) == 75
    assert left(place) == ["000001.json", "000002.json", "000003.json"]
    assert (last(place).outcome, last(place).cause) == ("requeued", Cause.TIME)
    assert task_slurm.calls[-1] == ["scontrol", "requeue", "110_0"]
    assert run(with_step(place, 0)) == 0
    assert (last(place).left, left(place)) == (3, [])


def test_a_warning_while_the_worker_still_loads_ends_it_and_the_task_is_requeued(place):
    place.submission.worker = ["sh", "-c", f"touch {place.paths.root}/started-$$; exec sleep 60"]
    when_started(place, signal.SIGUSR1)
    assert run(place) == 75
    assert (last(place).outcome, last(place).cause, len(left(place))) == ("requeued", Cause.TIME, 4)


def test_our_own_clock_warns_where_no_signal_comes_and_drops_a_unit_that_takes_too_long(place):
    place.job.seconds, place.submission.warning_s, place.submission.drop_s = 100, 100, 100
    place.submission.warning_s = 100
    assert run(with_step(place, 30)) == 75
    assert len(left(place)) == 4
    assert (last(place).outcome, last(place).cause) == ("requeued", Cause.TIME)


@pytest.mark.parametrize(
    ("state", "outcome", "cause", "requeues"),
    [
        ("JobState=RUNNING Reason=None", "requeued", Cause.PREEMPTED, True),
        ("JobState=CANCELLED Reason=None", "left", Cause.CANCELLED, False),
        ("JobState=PENDING Reason=BeginTime", "requeued", Cause.PREEMPTED, False),
        ("JobState=TIMEOUT Reason=TimeLimit", "requeued", Cause.TIME, True),
        ("JobState=COMPLETING Reason=None EndTime=2025-11-21T17:00:00 PreemptTime=2025-11-21T16:59:30", "requeued", Cause.PREEMPTED, True),
    ],
)
def test_asked_to_go_at_once_it_drops_the_unit_and_comes_back_only_if_slurm_wants_it(
    place, task_slurm, monkeypatch, state, outcome, cause, requeues
):
    answer = task_slurm._scontrol
    monkeypatch.setattr(task_slurm, "_scontrol", lambda a: answer(a) if a[0] == "requeue" else _text(f"JobId=110 {state}"))
    when_started(place, signal.SIGTERM)
    assert run(with_step(place, 30)) == 75
    assert len(left(place)) == 4
    assert (last(place).outcome, last(place).cause) == (outcome, cause)
    assert (["scontrol", "requeue", "110_0"] in task_slurm.calls) is requeues


@pytest.mark.parametrize("state", ["submitted", "cancelled"])
def test_asked_to_go_while_slurm_does_not_answer_it_comes_back_unless_the_run_was_cancelled(place, task_slurm, monkeypatch, state):
    def asks_in_vain(arguments):
        if arguments[0] == "requeue":
            return _text("")
        submission.write(place.paths, dataclasses.replace(place.submission, state=state))  # meanwhile
        raise StageError("`scontrol show job` gave no answer in 10 s")

    monkeypatch.setattr(task_slurm, "_scontrol", asks_in_vain)
    when_started(place, signal.SIGTERM)
    assert run(with_step(place, 30)) == 75
    assert last(place).outcome == ("left" if state == "cancelled" else "requeued")
    assert (["scontrol", "requeue", "110_0"] in task_slurm.calls) is (state == "submitted")


def _text(text):
    from tests.unit.pipeline.fake_slurm import _answer

    return _answer(0, text)


def test_a_program_error_ends_the_task_for_good(place, task_slurm):
    (place.paths.root / "fail").touch()
    assert run(with_step(place, 0)) == 1
    assert (last(place).outcome, last(place).cause, last(place).detail) == ("failed", Cause.PROGRAM, "exit code 1")
    assert "requeue" not in [word for call in task_slurm.calls for word in call]


def test_a_killed_worker_is_tried_again_but_not_for_ever(place, task_slurm):
    place.submission.worker = ["sh", "-c", "kill -9 $$"]
    assert [run(place) for _ in range(3)] == [75, 75, 75]
    assert (last(place).outcome, last(place).cause) == ("requeued", Cause.KILLED)
    assert run(place) == 1
    assert (last(place).cause, last(place).detail) == (Cause.BUDGET, "3 starts in a row finished none of 4 units")


@pytest.mark.parametrize(("refusals", "outcome", "code"), [(2, "requeued", 75), (1000, "failed", 1)])
def test_a_requeue_that_slurm_does_not_take_is_asked_for_until_the_time_is_up(place, task_slurm, monkeypatch, refusals, outcome, code):
    asked = []

    def answer(argv, timeout_s):
        asked.append(argv)
        if len(asked) == 1:
            raise StageError("`scontrol requeue 110_0` gave no answer in 60 s")
        if len(asked) <= refusals:
            return subprocess.CompletedProcess([], 1, "", "Unable to contact slurm controller")
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(client, "call", answer)
    monkeypatch.setattr(client, "REQUEUE_POLL_S", 0.01)
    place.submission.drop_s = 0.5
    place.submission.worker = ["sh", "-c", "kill -9 $$"]
    assert run(place) == code
    assert (last(place).outcome, last(place).cause) == (outcome, Cause.KILLED)
    assert len(asked) == 3 if refusals == 2 else len(asked) > 10
    assert last(place).detail.endswith("worker killed by SIGKILL" if refusals == 2 else "failed: Unable to contact slurm controller")


def test_progress_gives_the_budget_back(place):
    for _ in range(4):
        for file in place.paths.root.glob("started-*"):
            file.unlink()
        thread = when_started(place, signal.SIGUSR1)
        run(with_step(place, 0.3))
        thread.join()
    assert [attempt.left for attempt in attempts.earlier(place.file.parent, "annotate-0", 0)] == [4, 3, 2, 1]
    assert left(place) == []


def test_the_hundredth_start_is_later_than_the_99th(tmp_path):
    for number in range(103):
        attempt = attempts.Attempt(job_id="1", node="n", started=number, left=3 if number > 98 else 200 - number)
        attempts.write(attempts.attempt_file(tmp_path, "filter-0", 2, number), attempt)
    starts = attempts.earlier(tmp_path, "filter-0", 2)
    assert [start.started for start in starts] == list(range(103))
    assert attempts.fruitless(starts, 3) == 4
    ((key, told),) = attempts.read_all(tmp_path).items()
    assert (key, [start.started for start, _ in told]) == (("filter-0", 2), list(range(103)))


def test_other_files_beside_the_starts_of_a_task_are_left_alone(tmp_path):
    attempts.write(attempts.attempt_file(tmp_path, "filter-0", 2, 0), attempts.Attempt(job_id="1", node="n", started=0, left=1))
    for name in ("000002-00 (copy).json", "000002-x.json", "notes.json"):
        (tmp_path / "attempts" / "filter-0" / name).write_text("mine")
    assert len(attempts.earlier(tmp_path, "filter-0", 2)) == 1
    assert [len(told) for told in attempts.read_all(tmp_path).values()] == [1]


def test_a_worker_that_claims_to_be_done_is_not_believed(place):
    place.submission.worker = ["true"]
    assert run(place) == 1
    assert "units [0, 1, 2, 3] are not done" in last(place).detail


def test_a_record_that_cannot_be_read_is_told_before_it_ends_the_task(place):
    place.submission.worker = ["sh", "-c", f"echo broken > {place.paths.done('caption', 1)}"]
    with pytest.raises(ContractError, match="is not JSON"):
        run(place)
    assert (last(place).outcome, last(place).cause) == ("failed", Cause.PROGRAM)


def test_without_its_inputs_a_task_does_not_start(place):
    place.paths.done("caption", 2).unlink()
    place.submission.worker = ["false"]
    assert run(place) == 1
    assert last(place).cause == Cause.DEPENDENCY
    assert "unit 2 of 'caption' is not done" in last(place).detail


def test_memory_that_the_kernel_took_is_named(place, monkeypatch):
    counts = iter([0, 1])
    monkeypatch.setattr(task, "oom_kills", lambda: next(counts))
    place.submission.worker = ["sh", "-c", "kill -9 $$"]
    assert run(place) == 1
    assert last(place).cause == Cause.MEMORY


def test_a_task_is_named_by_its_array_and_index():
    """The id of one task of an array is the id of the array: `scontrol requeue` of it would requeue all tasks."""
    assert job_id({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"}) == "7_3"
    assert job_id({"SLURM_JOB_ID": "7"}) == "7"


def test_a_single_job_that_was_submitted_from_inside_an_array_is_no_task_of_that_array(place, monkeypatch):
    """sbatch hands the variables of the array on."""
    for name, value in {"SLURM_JOB_ID": "8", "SLURM_ARRAY_JOB_ID": "3", "SLURM_ARRAY_TASK_ID": "2", "SLURMD_NODENAME": "n1"}.items():
        monkeypatch.setenv(name, value)
    seen = []
    monkeypatch.setattr(task, "run", lambda place: seen.append((place.element, place.job_id)) or 0)
    for name in ("shard", "annotate-0"):
        task.main(["--submission", str(place.file), "--job", name])
    assert seen == [(0, "8"), (2, "3_2")]
