"""Submit, retry, cancel and status against a fake Slurm; tests/slurm has the real one."""

import os
import shutil
import subprocess
import time

import pytest

from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.fileio import read_json, write_json
from pipeline.slurm import client, show, submission
from pipeline.slurm.attempts import Attempt, attempt_file, write
from pipeline.slurm.guard import refuse_queued
from pipeline.slurm.site import SiteConfig
from pipeline.slurm.submit import dry_text
from pipeline.slurm.withdraw import cancel
from tests.unit.pipeline.fake_flow import write_config
from tests.unit.pipeline.fake_slurm import FakeSlurm
from tests.unit.pipeline.slurm_run import ARRAYS, NAMES, SlurmRun


@pytest.fixture
def run(tmp_path, monkeypatch):
    slurm = FakeSlurm()
    monkeypatch.setattr(client, "_call", slurm)
    return SlurmRun(tmp_path, slurm)


def dependencies(run):
    """job -> its dependency with names in place of ids."""
    names = {str(job.job_id): job.name.split("-", 1)[1].split(".")[0] for job in run.slurm.jobs}
    result = {}
    for job in run.slurm.jobs:
        parts = [part.split(":") for part in job.dependency.split(",") if part]
        result[names[str(job.job_id)]] = [f"{kind}:{names.get(number, number)}" for kind, number in parts]
    return result


def test_a_new_run_is_one_array_a_stage_chained_task_by_task(run):
    sent = run.submit()
    assert [(job.name, job.size) for job in sent.jobs] == [("prompts", 1), *((f"{s}-0", 3) for s in ARRAYS), ("shard", 1)]
    assert dependencies(run) == {
        "prompts": [],
        "generate-0": ["afterok:prompts"],
        "filter-0": ["aftercorr:generate-0"],
        "recrop-0": ["aftercorr:filter-0"],
        "caption-0": ["aftercorr:recrop-0"],
        "annotate-0": ["aftercorr:caption-0"],
        "shard": ["afterok:annotate-0"],
    }
    generate, annotate = run.slurm.job("generate-0"), run.slurm.job("annotate-0")
    assert (generate.window, annotate.window) == ("2", "")
    assert "#SBATCH --gpus-per-node=1" in generate.script
    assert "gpus" not in annotate.script
    assert "--signal=B:USR1@300" in annotate.script
    assert submission.read_all(run.paths)[0].state == "submitted"


def test_a_fused_run_is_one_array_with_the_resources_of_a_gpu_stage(run):
    run.execution = "fused"
    sent = run.submit()
    assert [(job.name, job.size) for job in sent.jobs] == [("prompts", 1), ("fused-0", 3), ("shard", 1)]
    assert dependencies(run) == {"prompts": [], "fused-0": ["afterok:prompts"], "shard": ["afterok:fused-0"]}
    array = run.slurm.job("fused-0")
    assert (array.window, "#SBATCH --gpus-per-node=1" in array.script) == ("2", True)
    assert run.submit().num_waiting == 6, "in the queue already"


def test_a_fused_run_sends_what_needs_no_gpu_to_cpus_and_the_rest_in_one_piece(run):
    run.make()
    run.lose("annotate", 1)
    run.lose("filter", 2, 4)
    run.execution = "fused"
    run.submit()
    assert {name: after for name, after in dependencies(run).items() if name != "shard"} == {"fused-0": [], "annotate-1": []}
    run.slurm.jobs.clear()


def test_status_tells_of_a_fused_task_by_stage_and_names_its_end_once(run):
    run.make("prompts")
    run.execution = "fused"
    run.submit()
    run.make("generate")
    run.slurm.set("fused-0", "RUNNING", elements=[0])
    rows = {row.stage: row for row in run.status().stages}
    assert (rows["generate"].done, rows["filter"].running, rows["filter"].waiting, rows["shard"].waiting) == (6, 1, 5, 1)
    run.slurm.set("fused-0", "TIMEOUT")
    failures = run.status().failures
    assert [(failure.stage, str(failure.cause), failure.tasks, failure.units) for failure in failures if failure.stage != "shard"] == [
        ("filter", "time-out", 3, 6)
    ]
    again = run.submit()
    assert [(job.name, job.size) for job in again.jobs] == [("fused-0", 3), ("shard", 1)]


def test_submit_again_sends_nothing_while_it_runs_nor_when_all_is_done(run):
    run.submit()
    again = run.submit()
    assert (again.jobs, again.num_waiting, len(run.slurm.jobs)) == ([], 6, 7)
    run.make()
    run.slurm.jobs.clear()
    assert run.submit().jobs == []
    assert run.slurm.jobs == []


def test_only_what_is_missing_is_sent_from_the_stage_that_lacks_it(run):
    run.make()
    run.lose("generate", 3)
    run.lose("caption", 0, 5)
    run.lose("shard", 0)
    sent = run.submit()
    arrays = {job.name: job for job in sent.jobs if job.group is not None}
    assert list(arrays) == ["generate-0", "filter-0", "recrop-0", "caption-0", "annotate-0", "caption-1", "annotate-1"]
    record = submission.read_all(run.paths)[0]
    assert [record.units(arrays[name], 0) for name in ("generate-0", "caption-1")] == [[3], [0, 5]]
    assert dependencies(run)["caption-1"] == []
    assert dependencies(run)["shard"] == ["afterok:annotate-0", "afterok:annotate-1"]


def test_max_array_size_splits_arrays_and_the_window_holds_over_all_of_them(run):
    run.slurm.max_array_size = 4
    run.submit(units_per_task=1)
    assert [(run.slurm.job(f"generate-{i}").elements, run.slurm.job(f"generate-{i}").window) for i in (0, 1)] == [
        ([0, 1, 2], "1"),
        ([0, 1, 2], "1"),
    ]
    run.slurm.jobs.clear()
    run.slurm.max_array_size = 2
    run.submit(units_per_task=1)
    assert dependencies(run)["generate-2"] == ["afterok:prompts", "afterany:generate-0"]


def test_a_dry_run_prints_what_would_be_sent_and_leaves_no_trace(run):
    text = dry_text(run.submit(dry_run=True))
    assert "$ sbatch --parsable '--dependency=aftercorr:<id of generate-0>'" in text
    assert text.count("#SBATCH --array=0-2") == len(ARRAYS)
    assert "exec " in text
    assert run.slurm.jobs == []
    assert not run.paths.root.exists()


def test_a_dry_run_works_without_slurm_and_says_what_it_does_not_know(run):
    run.slurm.alive = False
    assert len(run.submit(dry_run=True).scripts) == 7
    assert run.said[0].startswith("Slurm does not answer")
    assert "at most 1001 tasks" in run.said[0]


def test_another_config_is_refused_before_anything_is_sent(run):
    run.make()
    (run.folder / "recipe.yaml").write_text((run.folder / "recipe.yaml").read_text() + "salt: {filter: 1}\n")
    with pytest.raises(ContractError, match="another config of stage 'filter'"):
        run.submit()
    assert run.slurm.jobs == []


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


def fail_caption_of_task_1(run):
    run.submit()
    run.make("prompts", "generate", "filter", "recrop")
    for name in ("generate-0", "filter-0", "recrop-0"):
        run.slurm.set(name, "COMPLETED")
    run.slurm.set("prompts", "COMPLETED")
    run.slurm.set("caption-0", "RUNNING")
    run.slurm.set("caption-0", "FAILED", "NonZeroExitCode", [1])
    run.slurm.set("annotate-0", "CANCELLED", "DependencyNeverSatisfied", [1])
    run.slurm.set("shard", "CANCELLED", "DependencyNeverSatisfied")
    file = attempt_file(submission.folder(run.paths, 1), "caption-0", 1, 0)
    write(file, Attempt(job_id="1", node="n7", started=1e9, left=2, ended=1e9 + 1800, outcome="failed", cause="program error"))
    log = run.paths.logs / "slurm-0001" / "caption-0-000001.log"
    log.write_text("an old line\n2026 INFO task: submission 1, job caption-0\nValueError: no model\n")


def test_status_tells_units_causes_and_gpu_hours_apart(run, capsys):
    fail_caption_of_task_1(run)
    status = run.status()
    rows = {row.stage: row for row in status.stages}
    caption = rows["caption"]
    assert (caption.done, caption.running, caption.waiting, caption.failed) == (0, 2, 2, 2)
    assert (rows["annotate"].waiting, rows["annotate"].failed, rows["shard"].failed) == (4, 2, 1)
    assert (rows["generate"].done, rows["generate"].images_per_s is not None, caption.gpu_hours) == (6, True, 0.5)
    assert run.causes() == {
        "caption": "program error",
        "annotate": "dependency never satisfied",
        "shard": "dependency never satisfied",
    }
    failure = status.failures[0]
    assert (failure.units, failure.nodes, failure.lines[-1]) == (2, ["n7"], "ValueError: no model")
    assert "an old line" not in failure.lines
    show.print_slurm(status)
    out = capsys.readouterr().out
    assert "caption: program error: 2 units, job " in out
    assert "ValueError: no model" in out


def test_status_says_why_tasks_wait_and_the_way_out_where_they_never_start(run, capsys):
    run.submit()
    run.make("prompts")
    run.slurm.set("prompts", "COMPLETED")
    run.slurm.set("generate-0", "PENDING", "launch failed requeued held", [1])
    run.slurm.set("generate-0", "RUNNING", "None", [0])
    run.slurm.set("filter-0", "REQUEUE_HOLD", "None", [0])
    run.slurm.set("shard", "PENDING", "PartitionTimeLimit")
    run.slurm.set("annotate-0", "PENDING", "AssocGrpCPUMinutesLimit", [2])
    status = run.status()
    found = {(group.stage, group.reason): (group.tasks, group.jobs, bool(group.way_out)) for group in status.waiting}
    assert found["generate", "launch failed requeued held"] == (1, ["110_1"], True)
    assert found["generate", "Dependency"] == (1, ["110_2"], False)
    assert found["filter", "REQUEUE_HOLD"] == (1, ["120_0"], True)
    assert found["shard", "PartitionTimeLimit"] == (1, ["160"], True)
    assert found["annotate", "AssocGrpCPUMinutesLimit"] == (1, ["150_2"], True)
    assert sum(group.tasks for group in status.waiting) == status.active - 1
    assert [group["reason"] for group in status.to_json()["waiting"]] == [group.reason for group in status.waiting]
    show.print_slurm(status)
    out = capsys.readouterr().out
    assert "waiting: 11 tasks (Dependency)\n" in out
    assert "generate: 1 tasks wait (launch failed requeued held), job 110_1: held until somebody says `scontrol release 110_1`" in out
    assert "shard: 1 tasks wait (PartitionTimeLimit), job 160: they cannot start like this: `passerby cancel`" in out


@pytest.mark.parametrize("ahead_s", [0, 120])
def test_speed_is_told_by_the_clock_of_the_files_if_that_is_ahead(run, ahead_s):
    run.submit()
    run.make("prompts", "generate")
    run.lose("generate", 5)
    run.slurm.set("generate-0", "RUNNING")
    now = time.time()
    for unit in range(5):
        path = run.paths.done("generate", unit)
        write_json(path, read_json(path) | {"seconds": 10.0})
        finished = now + ahead_s - 10 * (4 - unit)
        os.utime(path, (finished, finished))
    row = run.status().stages[1]
    assert row.images_per_s == pytest.approx(30 / 50, rel=0.1)
    assert row.eta_s == pytest.approx(10, rel=0.1)


def test_retry_sends_what_failed_and_a_new_end_that_waits_for_what_still_runs(run):
    fail_caption_of_task_1(run)
    sent = run.submit(only_failed=True)
    assert [job.name for job in sent.jobs] == ["caption-0", "annotate-0", "shard"]
    assert (sent.num_units, sent.num_waiting) == (2, 4)
    old = next(job for job in submission.read_all(run.paths)[0].jobs if job.name == "annotate-0")
    assert dependencies(run)["shard"][1] in ("afterany:annotate-0", f"afterany:{old.job_id}")
    assert run.submit(only_failed=True).jobs == []


def test_how_a_task_ended_is_remembered_when_slurm_has_forgotten(run):
    run.submit()
    run.make("prompts")
    run.slurm.set("generate-0", "OUT_OF_MEMORY", "OutOfMemory")
    assert run.causes()["generate"] == "out of memory"
    run.slurm.jobs.clear()
    assert run.causes()["generate"] == "out of memory"


@pytest.mark.parametrize(
    ("state", "reason", "line", "cause"),
    [
        ("TIMEOUT", "TimeLimit", "", "time-out"),
        ("NODE_FAIL", "NodeDown", "", "node lost"),
        ("FAILED", "NonZeroExitCode", "", "never started"),
        ("FAILED", "JobLaunchFailure", "slurmstepd: error: Exceeded job memory limit", "out of memory"),
        ("CANCELLED", "None", "", "cancelled"),
        ("PENDING", "DependencyNeverSatisfied", "", "dependency never satisfied"),
    ],
)
def test_causes_by_what_slurm_and_the_log_say(run, state, reason, line, cause):
    run.submit()
    run.make("prompts")
    run.slurm.set("generate-0", state, reason)
    for element in range(3):
        (run.paths.logs / "slurm-0001" / f"generate-0-{element:06d}.log").write_text(f"{line}\n")
    assert run.causes()["generate"] == cause


def test_without_an_answer_from_the_queue_nothing_is_called_failed(run):
    run.submit()
    run.slurm.alive = False
    status = run.status()
    assert "Unable to contact" in status.queue
    assert status.failures == []
    assert status.stages[1].waiting == 6


def test_cancel_takes_all_of_it_out_and_says_so(run):
    run.submit()
    assert cancel(run.plan) == 2 + 3 * len(ARRAYS)
    assert set(run.causes().values()) == {"cancelled"}
    assert cancel(run.plan) == 0
    assert run.submit().num_units == 6


def test_a_local_run_is_refused_while_tasks_are_queued(run):
    refuse_queued(run.plan)
    run.submit()
    with pytest.raises(ConfigError, match=r"17 tasks of .* are in Slurm's queue; wait for them, or `passerby cancel`"):
        refuse_queued(run.plan)
    cancel(run.plan)
    refuse_queued(run.plan)


def test_a_local_run_is_refused_if_slurm_does_not_answer_and_tasks_of_it_may_run(run, monkeypatch):
    run.slurm.alive = False
    refuse_queued(run.plan)
    run.slurm.alive = True
    run.submit()
    run.make("prompts", "generate")
    run.slurm.set("filter-0", "FAILED", "NonZeroExitCode", [0])
    run.status()  # sees that end, and remembers it
    run.slurm.alive = False
    with pytest.raises(StageError, match=r"does not answer, and 12 tasks of submission 1 in .* may run; try again.*Unable to contact"):
        refuse_queued(run.plan)
    run.make()
    refuse_queued(run.plan)
    run.lose("shard", 0)
    monkeypatch.setattr(client, "_call", _without_slurm)
    refuse_queued(run.plan)


def _without_slurm(argv):
    raise ConfigError("squeue is not on PATH")


@pytest.mark.parametrize("dry_run", [False, True])
def test_other_settings_are_refused_while_tasks_of_the_old_ones_are_in_the_queue(run, dry_run):
    write_config(run.folder, num_units=6, generate={"steps": 20})
    run.submit()
    before = run.paths.config.read_bytes()
    write_config(run.folder, num_units=6, generate={"steps": 30}, salt={"generate": 30})
    with pytest.raises(ConfigError, match=r"16 tasks of .* changed: generate.steps 20 -> 30; wait for them, or `passerby cancel"):
        run.submit(dry_run=dry_run)
    assert run.paths.config.read_bytes() == before
    for stage in ("generate-0", "filter-0", "recrop-0", "caption-0", "annotate-0", "shard"):
        run.slurm.set(stage, "CANCELLED")
    assert run.submit(dry_run=dry_run).num_units == 6, "prompts, which is still in the queue, has not changed"


def test_a_container_holds_the_stages_and_the_watcher_stays_outside(run):
    container = ("apptainer", "exec", "--nv", "my image.sif", "python", "-m", "generation")
    run.submit(site=SiteConfig(worker=container, python="/venv/bin/python", setup=("module load apptainer",)))
    script = run.slurm.job("generate-0").script
    assert "\nmodule load apptainer\n" in script
    assert "\nexec /venv/bin/python -m pipeline.slurm.task --submission" in script
    assert submission.read_all(run.paths)[0].worker == list(container)


def test_lines_of_the_site_may_read_variables_that_are_unset_and_their_errors_end_the_script(run):
    run.submit(site=SiteConfig(setup=('[ "$PS1_OF_A_VENV" = x ] || echo no prompt',)))
    for job in ("prompts", "generate-0"):
        before = run.slurm.job(job).script.split("\nexec ")[0]
        done = subprocess.run(["bash", "-c", f"{before}\necho $NOWHERE_SET"], capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode != 0, "NOWHERE_SET" in done.stderr) == ("no prompt\n", True, True)


def test_the_site_and_the_jobs_are_on_disk_beside_the_scripts(run):
    run.submit()
    folder = submission.folder(run.paths, 1)
    assert {path.name for path in folder.iterdir()} >= {
        "submission.json",
        "site.yaml",
        "prompts.sbatch",
        "shard.sbatch",
        "generate-0.sbatch",
    }
    assert [job["job_id"] for job in read_json(folder / "submission.json")["jobs"]] == [job.job_id for job in run.slurm.jobs]
    assert [job["stage"] for job in show.sent_json(run.submit(dry_run=True), "x")["jobs"]] == []
    assert len(NAMES) == len(run.slurm.jobs)
