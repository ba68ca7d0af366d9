"""What status says of a submitted run: units, causes, reasons to wait, speed; the queue is fake."""

import os
import time

import pytest

from pipeline.fileio import read_json, write_json
from pipeline.slurm import show, submission
from pipeline.slurm.attempts import Attempt, attempt_file, write
from pipeline.slurm.site import Resources, SiteConfig
from tests.unit.pipeline.fake_flow import write_config
from tests.unit.pipeline.slurm_run import SlurmRun, fail_caption_of_task_1


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


def test_a_running_task_of_several_gpus_has_a_unit_in_hand_on_each(run):
    run.submit(site=SiteConfig(units_per_task=3, gpu=Resources(gpus=2)))
    run.make("prompts")
    run.slurm.set("generate-0", "RUNNING", elements=[0])
    row = next(row for row in run.status().stages if row.stage == "generate")
    assert (row.running, row.waiting) == (2, 4)


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


def test_restarts_are_told_by_cause_with_their_nodes(run, capsys):
    """Only a start that another followed, or will, was a restart; what says nothing of its end was lost with its node."""
    run.submit()
    run.make("prompts")
    folder = submission.folder(run.paths, 1)
    ends = {
        0: [("n1", None, None), ("n2", "requeued", "preempted"), ("n1", None, None), ("n3", None, None)],  # runs
        1: [("n1", None, None)],  # back in the queue
        2: [("n2", None, None), ("n2", "requeued", "killed"), ("n2", "done", None)],
    }
    for element, starts in ends.items():
        for number, (node, outcome, cause) in enumerate(starts):
            told = Attempt(job_id="1", node=node, started=1e9, left=2, ended=outcome and 1e9 + 1, outcome=outcome, cause=cause)
            write(attempt_file(folder, "generate-0", element, number), told)
    head = "INFO task: submission 1, job generate-0"
    ended = "slurmstepd: error: *** JOB 112 ON n2 CANCELLED AT 2026-11-21T17:00:00 DUE TO PREEMPTION ***"
    log = run.paths.logs / "slurm-0001" / "generate-0-000002.log"
    log.write_text("\n".join((head, *["a long log"] * 300, ended, head, "killed", head)) + "\n")
    for element, state in enumerate(("RUNNING", "PENDING", "COMPLETED")):
        run.slurm.set("generate-0", state, elements=[element])
    status = run.status()
    assert {(group["cause"], group["times"], tuple(group["nodes"].items())) for group in status.to_json()["restarts"]} == {
        ("node lost", 3, (("n1", 3),)),
        ("preempted", 2, (("n2", 2),)),
        ("killed", 1, (("n2", 1),)),
    }
    assert [(row.stage, row.restarts) for row in status.stages if row.restarts] == [("generate", 6)]
    show.print_slurm(status)
    assert "generate: 3 restarts, node lost: on n1 (3)\n" in capsys.readouterr().out


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


def test_how_a_task_ended_is_remembered_when_slurm_has_forgotten(run):
    run.submit()
    run.make("prompts")
    run.slurm.set("generate-0", "OUT_OF_MEMORY", "OutOfMemory")
    assert run.causes()["generate"] == "out of memory"
    run.slurm.jobs.clear()
    assert run.causes()["generate"] == "out of memory"


def test_out_of_memory_names_the_way_out_and_says_slurms_words_once(run, capsys):
    run.submit()
    run.make("prompts")
    run.slurm.set("generate-0", "OUT_OF_MEMORY", "OutOfMemory", [0])
    words = ["slurmstepd: error: StepId=1.batch exceeded memory limit", "slurmstepd: error: Exceeded job memory limit"]
    (run.paths.logs / "slurm-0001" / "generate-0-000000.log").write_text("\n".join(("   ^^^", "   ^^^", *words, *words)) + "\n")
    status = run.status()
    assert status.failures[0].lines == ["   ^^^", "   ^^^", *words]
    show.print_slurm(status)
    assert f"way out: more memory than now, `passerby retry {run.paths.root} --site-set gpu.memory=64G`" in capsys.readouterr().out
    run.make("generate")
    run.slurm.set("filter-0", "OUT_OF_MEMORY", "OutOfMemory", [0])
    (way_out,) = {failure.way_out for failure in run.status().failures if failure.stage == "filter"}
    assert "--site-set cpu.memory=64G" in way_out
    assert "batch_size" not in way_out


@pytest.mark.parametrize(
    ("execution", "job", "sizes", "smaller"),
    [
        ("staged", "caption-0", (16, 5), ", or smaller batches (--set caption.batch_size=2)"),
        ("fused", "fused-0", (4, 32), ", or smaller batches (--set generate.batch_size=2 --set caption.batch_size=16)"),
        ("fused", "fused-0", (0, 1), ", or smaller batches (--set generate.batch_size=1)"),
        ("staged", "caption-0", (16, 1), ""),
    ],
)
def test_smaller_batches_are_half_those_of_the_stage_that_ran_out_of_memory(run, execution, job, sizes, smaller):
    (run.folder / "my runs").mkdir()
    spaced = SlurmRun(run.folder / "my runs", run.slurm, execution=execution)
    write_config(spaced.folder, num_units=6, generate={"batch_size": sizes[0]}, caption={"batch_size": sizes[1]})
    spaced.submit()
    spaced.make("prompts", "generate", "filter", "recrop")
    run.slurm.set(job, "OUT_OF_MEMORY", "OutOfMemory", [0])
    (way_out,) = {failure.way_out for failure in spaced.status().failures if failure.stage == "caption"}
    retry = f"`passerby retry '{spaced.paths.root}' --site-set gpu.memory=64G`"
    assert way_out == f"more memory than now, {retry}{smaller}"


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
