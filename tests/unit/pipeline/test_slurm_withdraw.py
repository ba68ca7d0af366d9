"""What leaves a fake queue again: cancelled, taken back after a submit that failed, and never somebody else's jobs."""

import shutil

import pytest

from pipeline.contracts.errors import StageError
from pipeline.slurm import client, submission
from pipeline.slurm.withdraw import cancel
from tests.unit.pipeline.fake_flow import write_config
from tests.unit.pipeline.slurm_run import ARRAYS, fail_caption_of_task_1


def test_if_slurm_refuses_a_job_those_before_it_are_taken_back(run):
    run.slurm.refuse = ("recrop",)
    with pytest.raises(StageError, match="invalid partition"):
        run.submit()
    assert {state for job in run.slurm.jobs for state, _ in job.states.values()} == {"CANCELLED"}
    assert submission.read_all(run.paths)[0].state == "abandoned"
    run.slurm.refuse = ()
    assert run.submit().number == 2


def test_a_submit_killed_between_two_jobs_is_taken_back_by_the_next(run, monkeypatch):
    sent, original = [], client.submit

    def killed(script, dependency):
        if len(sent) == 3:
            raise KeyboardInterrupt
        sent.append(original(script, dependency))
        return sent[-1]

    monkeypatch.setattr(client, "submit", killed)
    with pytest.raises(KeyboardInterrupt):
        run.submit()
    record = submission.read_all(run.paths)[0]
    record.jobs[2].job_id = None  # killed before the id was written down: the queue knows the name
    submission.write(run.paths, record)
    monkeypatch.setattr(client, "submit", original)
    assert run.submit().num_units == 6
    assert all(state == "CANCELLED" for job in run.slurm.jobs[:3] for state, _ in job.states.values())
    assert [old.state for old in submission.read_all(run.paths)] == ["abandoned", "submitted"]


@pytest.mark.parametrize("late", ["prompts", "generate-0"])
def test_a_job_that_slurm_took_although_sbatch_failed_is_taken_back(run, late):
    run.slurm.late = (late,)
    with pytest.raises(StageError, match="Socket timed out"):
        run.submit()
    assert {state for job in run.slurm.jobs for state, _ in job.states.values()} == {"CANCELLED"}
    assert submission.read_all(run.paths)[0].state == "abandoned"


def test_what_could_not_be_taken_back_is_taken_back_by_the_next_submit(run):
    run.slurm.late, run.slurm.deaf = ("generate-0",), True
    with pytest.raises(StageError, match=r"Socket timed out.*could not be taken back.*the next submit does it"):
        run.submit()
    assert submission.read_all(run.paths)[0].state == "open"
    with pytest.raises(StageError, match="4 tasks are still in the queue"):
        run.submit()
    run.slurm.late, run.slurm.deaf = (), False
    before = list(run.slurm.jobs)
    assert run.submit().num_units == 6
    assert {state for job in before for state, _ in job.states.values()} == {"CANCELLED"}


def test_an_interrupted_submit_is_taken_back_by_one_of_other_settings(run):
    run.slurm.late, run.slurm.deaf = ("generate-0",), True
    with pytest.raises(StageError, match="Socket timed out"):
        run.submit()
    run.slurm.late, run.slurm.deaf = (), False
    write_config(run.folder, num_units=6, salt={"prompts": 1})
    assert run.submit().num_units == 6


def test_a_job_that_slurm_took_later_still_is_taken_back_too(run):
    run.slurm.late = ("prompts",)
    with pytest.raises(StageError, match="Socket timed out"):
        run.submit()
    run.slurm.set("prompts", "PENDING", "Priority")  # it had not been in the queue yet when we looked
    run.slurm.late = ()
    run.submit()
    assert "None" not in " ".join(job.dependency for job in run.slurm.jobs)
    assert run.slurm.jobs[0].states == {0: ("CANCELLED", "None")}
    assert run.submit().jobs == []


def test_the_shard_that_waits_stays_if_slurm_refuses_the_jobs_that_were_to_replace_it(run):
    fail_caption_of_task_1(run)
    run.slurm.set("shard", "PENDING", "Dependency")
    old, run.slurm.refuse = run.slurm.job("shard"), ("annotate-0.0002",)
    with pytest.raises(StageError, match="invalid partition"):
        run.submit()
    assert old.states == {0: ("PENDING", "Dependency")}
    run.slurm.refuse = ()
    run.submit()
    assert old.states == {0: ("CANCELLED", "None")}


@pytest.mark.parametrize("hangs", [False, True])
def test_a_shard_job_that_could_not_be_taken_out_is_told_and_taken_out_by_the_next_submit(run, monkeypatch, hangs):
    fail_caption_of_task_1(run)
    run.slurm.set("shard", "PENDING", "Dependency")
    old, run.slurm.deaf = run.slurm.job("shard"), True
    with monkeypatch.context() as patch:
        if hangs:
            patch.setattr(run.slurm, "_scancel", no_answer)
        assert run.submit().number == 2
    assert submission.read_all(run.paths)[1].state == "submitted"
    said = "`scancel` gave no answer in 60 s" if hangs else "scancel: error: Kill job error on job id 110: Socket timed out"
    assert run.said[0].startswith(f"jobs of earlier submissions that are of no use any more stay in the queue for now ({old.job_id}); ")
    assert said in run.said[0]
    run.slurm.deaf = False
    assert run.submit().jobs == []
    assert old.states == {0: ("CANCELLED", "None")}
    assert run.slurm.job("shard").states == {0: ("PENDING", "Dependency")}


def no_answer(arguments):
    raise StageError("`scancel` gave no answer in 60 s")


def test_cancel_says_so_if_tasks_stay_in_the_queue(run):
    run.submit()
    run.slurm.deaf = True
    with pytest.raises(StageError, match=r"17 tasks are still in the queue \(job 100.*scancel said 'scancel: error: Kill job error"):
        cancel(run.plan)
    assert submission.read_all(run.paths)[0].state == "submitted"


def test_tasks_whose_processes_are_being_ended_count_as_cancelled(run):
    run.submit()
    run.slurm.set("prompts", "COMPLETING")
    assert cancel(run.plan) == 17


def test_jobs_of_a_run_that_lay_in_the_same_folder_before_are_not_taken_for_those_of_this_one(run):
    run.submit()
    cancel(run.plan)
    before = list(run.slurm.jobs)
    shutil.rmtree(run.paths.root)
    run.submit()
    run.slurm.jobs = [*run.slurm.jobs[len(before) :], *before]  # squeue sorts ended jobs behind waiting ones
    assert {job.name for job in before}.isdisjoint(job.name for job in run.slurm.jobs[: len(before)])
    assert (run.causes(), run.submit().jobs) == ({}, [])


def test_a_job_that_was_renamed_is_known_by_its_id(run):
    run.submit()
    for job in run.slurm.jobs:
        job.name = "mine"
    assert (run.status().active, run.submit().jobs) == (17, [])
    assert cancel(run.plan) == 17


def test_cancel_takes_all_of_it_out_and_says_so(run):
    run.submit()
    assert cancel(run.plan) == 2 + 3 * len(ARRAYS)
    assert set(run.causes().values()) == {"cancelled"}
    assert cancel(run.plan) == 0
    assert run.submit().num_units == 6
