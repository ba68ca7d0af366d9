"""Faults on a real Slurm: whatever ends a task, the run ends with the bytes of a local run and a ledger that balances.

The stages are fake and cheap, processes, files, arrays and faults are real; the flow with models is in test_slurm_embedded.py.
"""

from pathlib import Path

import pytest

from pipeline.slurm import client
from pipeline.slurm.withdraw import cancel
from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.flow import PATIENCE_S, Flow, site

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("on_cluster")]


@pytest.fixture(scope="module")
def hanging(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """Tasks that hang and hear nothing, as on a dead file system. Begun first: Slurm needs up to two minutes to end them at their limit."""
    flow = Flow(cluster, tmp_path_factory.mktemp("hanging"), "annotate", num_units=2)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SLURM_CONF", "PATH"):
            patch.setenv(name, cluster.env[name])
        flow.submit(site(time_limit="0:01:00", setup=("trap '' TERM USR1", "sleep 600")))
    return flow


def test_more_tasks_than_an_array_may_have_a_window_and_a_second_submit(hanging: Flow, cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "caption", num_units=5)
    assert client.max_array_size() == 4
    sent = flow.submit(site(units_per_task=1, max_running=2))
    assert [(job.name, job.size) for job in sent.jobs if job.stage == "caption"] == [("caption-0", 2), ("caption-1", 3)]
    again = flow.submit(site(units_per_task=1))
    assert (again.jobs, again.num_waiting) == ([], 5)
    flow.wait_until_over()
    assert flow.submit(site()).jobs == []
    flow.finish()


def test_a_killed_worker_comes_back_by_itself_and_a_killed_task_after_retry(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "caption", delay_s=2.0)
    flow.submit(site())
    flow.wait_for_start("caption-0", 0)
    flow.kill("caption-0", 0, worker=False)
    flow.wait_for_start("caption-0", 1)
    flow.kill("caption-0", 1, worker=True)
    flow.wait_until_over()
    causes = flow.causes()
    assert causes == {"caption": "killed", "annotate": "dependency never satisfied", "shard": "dependency never satisfied"}
    assert flow.paths.done_units("annotate") == [1, 3], "task 1 was requeued, and aftercorr let its follower go on"
    assert flow.submit(site(), only_failed=True).num_units == 2
    flow.finish()


def test_a_dead_node_costs_its_tasks_a_restart_and_nothing_else(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "annotate", delay_s=3.0)
    flow.submit(site())
    flow.wait_for_start("annotate-0", 0)
    node = next(line[4] for line in cluster.queue() if line[2] == "RUNNING" and line[0] == str(flow.job_id("annotate-0")))
    cluster.kill_node(node)
    try:
        flow.finish()
    finally:
        cluster.start_node(node)
    lost = [group for group in flow.status().to_json()["restarts"] if group["cause"] == "node lost"]
    assert [(group["stage"], list(group["nodes"])) for group in lost] == [("annotate", [node])]
    wait_for(lambda: cluster.states()[node] == "idle", PATIENCE_S, f"{node} to come back")


def test_preempted_and_requeued_tasks_go_on(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "annotate", delay_s=10.0)  # longer than Slurm may need to look for room for the urgent job
    flow.submit(site())
    flow.wait_for_start("annotate-0", 0)
    flow.wait_for_start("annotate-0", 1)
    cluster.command("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    flow.wait_for_starts("annotate-0", 0, 2)
    cluster.command("scontrol", "requeue", f"{flow.job_id('annotate-0')}_0")
    flow.finish()
    (again,) = flow.status().restarts
    assert (again.stage, again.cause) == ("annotate", "preempted")
    assert again.times >= 2


def test_tasks_of_a_partition_that_preempts_by_cancelling_come_back_and_cancelled_ones_do_not(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "annotate", num_units=16, delay_s=1.0)  # batches are over before Slurm's KillWait
    flow.submit(site(partition="cheap"))
    flow.wait_for_start("annotate-0", 0)
    cluster.command("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--output=/dev/null", "--wrap=sleep 1")
    flow.wait_for_starts("annotate-0", 0, 2)
    assert [attempt.cause for attempt in flow.attempts("annotate-0", 0)] == ["preempted", None]
    flow.wait_for_start("annotate-0", 0)
    assert cancel(flow.plan) > 0  # its earlier preemption is not taken for the cause of this end
    flow.wait_until_over()
    assert [attempt.outcome for attempt in flow.attempts("annotate-0", 0)] == ["requeued", "left"]
    flow.submit(site())
    flow.finish()


def test_held_tasks_are_named_with_the_way_out(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "annotate", num_units=2, delay_s=4.0)
    flow.submit(site())
    flow.wait_for_start("annotate-0", 0)
    annotate, shard = f"{flow.job_id('annotate-0')}_0", str(flow.job_id("shard"))
    cluster.command("scontrol", "hold", shard)
    cluster.command("scontrol", "requeuehold", annotate)
    wait_for(lambda: {group.stage for group in flow.status().waiting} == {"annotate", "shard"}, PATIENCE_S, "held tasks")
    ways_out = {group.stage: group.way_out for group in flow.status().waiting}
    assert f"`scontrol release {annotate}`" in ways_out["annotate"]
    assert f"`scontrol release {shard}`" in ways_out["shard"]
    cluster.command("scontrol", "release", annotate)
    cluster.command("scontrol", "release", shard)
    flow.finish()


def test_a_task_with_too_little_time_makes_unit_after_unit_and_then_the_rest(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "annotate", num_units=3, delay_s=4.0)
    flow.submit(site(units_per_task=3, time_limit="0:01:00", warning_s=55, drop_s=20))
    flow.finish()
    row = next(row for row in flow.status().stages if row.stage == "annotate")
    assert row.restarts >= 1
    assert "time-out" in [attempt.cause for attempt in flow.attempts("annotate-0", 0)]


def test_out_of_memory_is_named_and_cured_by_more_memory(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "annotate", num_units=2, delay_s=5.0)
    flow.submit(site(memory="20M"))
    flow.wait_until_over()
    assert flow.causes() == {"annotate": "out of memory", "shard": "dependency never satisfied"}
    assert flow.submit(site(memory="1000M"), only_failed=True).num_units == 2
    flow.finish()


def test_another_number_of_tasks_after_a_cancelled_submission(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "annotate", num_units=5, delay_s=5.0)
    flow.submit(site(units_per_task=2))
    flow.wait_for_done("annotate", 1)
    assert cancel(flow.plan) > 0
    flow.wait_until_over()
    assert set(flow.causes().values()) == {"cancelled"}
    sent = flow.submit(site(units_per_task=5))
    assert [job.size for job in sent.jobs if job.stage == "annotate"] == [1]
    flow.finish()


def test_a_task_that_hangs_is_ended_at_its_limit_and_called_a_time_out(hanging: Flow) -> None:
    hanging.wait_until_over()
    assert hanging.causes() == {"annotate": "time-out", "shard": "dependency never satisfied"}
    hanging.submit(site(), only_failed=True)
    hanging.finish()


def test_fused_tasks_that_are_killed_and_requeued_leave_the_bytes_of_the_stages_one_by_one(cluster: Cluster, tmp_path: Path) -> None:
    flow = Flow(cluster, tmp_path, "generate", num_units=6, delay_s=0.4, execution="fused")
    sent = flow.submit(site(units_per_task=3))
    assert [(job.name, job.size) for job in sent.jobs] == [("fused-0", 2), ("shard", 1)]
    flow.wait_for_start("fused-0", 0)
    flow.wait_for_done("filter", 1)
    flow.kill("fused-0", 0, worker=True)
    flow.wait_for_start("fused-0", 1)
    cluster.command("scontrol", "requeue", f"{flow.job_id('fused-0')}_1")
    flow.wait_for_starts("fused-0", 0, 2)
    flow.finish()
    assert flow.submit(site()).jobs == []
