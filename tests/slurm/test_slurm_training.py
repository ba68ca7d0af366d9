"""Trainings on a real Slurm with two nodes: what one process computes, whatever stops them on the way, and a culprit by name."""

import json
import os
import signal
from pathlib import Path

import pytest
import torch

from finetune.train import train as finetune
from generation.embedded.miniature import make_miniature
from pipeline.signals import StopRequest
from pretrain.train import TERMS, train
from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.trainings import BLOCKS, PATIENCE_S, Job, hold, losses, sbatch, state
from tests.unit.finetune.conftest import TINY
from tests.unit.finetune.replay import recipe
from tests.unit.pretrain.replay import config, replayed
from tests.unit.pretrain.samples import make_shards

pytestmark = [pytest.mark.timeout(1800), pytest.mark.usefixtures("on_cluster")]
BATCH, STEPS = 16, 5
MEASURES = (*TERMS, "gradient_norm", "total", "temperature")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards, and `one`, the training of one process."""
    folder = tmp_path_factory.mktemp("training")
    shards = make_shards(folder / "shards", train=40, val=2)
    torch.set_num_threads(1)
    with replayed(BLOCKS):
        train(config(shards, folder / "one", BATCH, STEPS), StopRequest())
    return folder


@pytest.fixture(scope="module")
def miniature(folder: Path) -> Path:
    make_miniature(folder / "miniature", 5, TINY)
    return folder / "miniature"


@pytest.fixture(scope="module")
def jobs(cluster: Cluster, folder: Path, miniature: Path) -> dict[str, Job]:
    """Sent together, because most of their time is waiting: two nodes with one rank each on plain torch, two with two each on DeepSpeed
    with ZeRO 2, one of two ranks that never answers, a fine-tuning, and one that stays in its second step until Slurm warns it."""
    hold(folder / "until-warned", 1)
    shards, finetuning = folder / "shards", recipe("irra", {"challenge": miniature}, folder / "finetuned")
    trainings = {name: config(shards, folder / name, BATCH, STEPS) for name in ("two", "silent", "limited")}
    four = config(shards, folder / "four", BATCH, STEPS, kind="deepspeed", zero_stage=2)
    return {
        "limited": sbatch(cluster, trainings["limited"], "--time=3", "--signal=USR1@120", REPLAY_HOLD=str(folder / "until-warned")),
        "two": sbatch(cluster, trainings["two"]),
        "silent": sbatch(cluster, trainings["silent"], "--nodelist=n1,n2", SILENT_NODE="n2", PASSERBY_RENDEZVOUS_S="30"),
        "four": sbatch(cluster, four, "--ntasks-per-node=2", "--mem=2600"),
        "finetuned": sbatch(cluster, finetuning, package="finetune"),
    }


@pytest.mark.parametrize(("name", "ranks"), [("two", 2), ("four", 4)])
def test_ranks_of_two_nodes_compute_what_one_process_computes_with_the_whole_batch(
    jobs: dict[str, Job], folder: Path, name: str, ranks: int
) -> None:
    """Six losses, gradient norm, temperature of every step to 1e-5 of the larger of 1 and the value; weights and moments at the end."""
    job = jobs[name]
    assert job.wait() == ("COMPLETED", 0), job.log
    assert "2 nodes are ready: n[" in job.log
    assert f"batch {BATCH // ranks} x {ranks} ranks = {BATCH}" in job.log
    found, expected = losses(folder / name, *MEASURES), losses(folder / "one", *MEASURES)
    assert len(found) == len(expected) == STEPS
    for step, values in zip(found, expected, strict=True):
        assert step == pytest.approx(values, abs=1e-5, rel=1e-5)
    end, wanted = state(folder / name), state(folder / "one")
    assert end.keys() == wanted.keys()
    assert all(torch.allclose(end[key].float(), wanted[key].float(), atol=1e-5, rtol=1e-4) for key in wanted)


def test_a_warned_and_a_requeued_training_goes_on_to_the_same_bits(cluster: Cluster, jobs: dict[str, Job], folder: Path) -> None:
    """SIGUSR1 as --signal sends it, in the middle of an epoch: checkpoint, back into the queue. Then `scontrol requeue`, a SIGTERM."""
    held = folder / "held"
    hold(held, 1)
    told = {"REPLAY_HOLD": str(held)}
    job = sbatch(cluster, config(folder / "shards", folder / "stopped", BATCH, STEPS), **told)
    job.wait_for(lambda: job.steps() == 1, "the first step")
    cluster.command("scancel", "--signal=USR1", str(job.number))
    job.wait_for(lambda: "exit code 75: back into the queue" in job.log, "the job to requeue itself")
    hold(held, 3)
    job.wait_for(lambda: job.steps() == 3, "the third step")
    cluster.command("scontrol", "requeue", str(job.number))
    hold(held, None)
    assert job.wait() == ("COMPLETED", 0), job.log
    assert int(job.facts()["Restarts"]) == 2, job.log
    assert "stopped at step 2 of 5" in job.log
    assert job.starts()[1]["newest"] == ["checkpoint/step-00000002"]
    jobs["two"].wait()
    assert losses(folder / "stopped", *MEASURES) == losses(folder / "two", *MEASURES)
    end, wanted = state(folder / "stopped"), state(folder / "two")
    assert all(torch.equal(end[key], wanted[key]) for key in wanted)


def test_the_warning_that_slurm_sends_before_the_time_limit_makes_a_checkpoint_and_a_requeue(jobs: dict[str, Job], folder: Path) -> None:
    """Nobody but Slurm sends a signal here."""
    job = jobs["limited"]
    assert job.wait() == ("COMPLETED", 0), job.log
    assert "stopped at step 2 of 5" in job.log
    assert "exit code 75: back into the queue" in job.log
    assert int(job.facts()["Restarts"]) >= 1
    jobs["two"].wait()
    assert losses(folder / "limited", *MEASURES) == losses(folder / "two", *MEASURES)


def test_a_node_that_is_not_ready_is_named_before_anything_trains(cluster: Cluster, folder: Path) -> None:
    job = sbatch(cluster, config(folder / "shards", folder / "broken", BATCH, STEPS), "--nodelist=n1,n2", BROKEN_NODE="n2")
    assert job.wait() == ("FAILED", 1)
    assert "not ready; what they say is above: n2; mend those nodes or leave them out (sbatch --exclude=n2)" in job.log
    assert job.steps() == 0


def _nodes(job: Job) -> list[str]:
    from pipeline.nodelist import hosts

    job.wait_for(lambda: job.facts()["NodeList"] != "(null)", "nodes")
    return hosts(job.facts()["NodeList"])


def test_a_rank_that_does_not_answer_is_named_with_its_node_in_time(jobs: dict[str, Job]) -> None:
    """The ranks wait 30 s here, 300 s otherwise."""
    job = jobs["silent"]
    assert job.wait() == ("FAILED", 1)
    assert "StageError: no answer within 30 s from rank 1 on n2; check those nodes" in job.log
    assert job.steps() == 0


def test_two_ranks_fine_tune_as_one_process_does(jobs: dict[str, Job], folder: Path, miniature: Path) -> None:
    """IRRA with AC, IRM, ITC and TAL; it draws nothing by rank."""
    summary = finetune(recipe("irra", {"challenge": miniature}, folder / "alone"), StopRequest())
    job, names = jobs["finetuned"], [*summary["losses"], "gradient_norm"]
    assert job.wait() == ("COMPLETED", 0), job.log
    found, expected = losses(job.out, *names), losses(folder / "alone", *names)
    assert len(found) == len(expected) == summary["steps"]
    for step, values in zip(found, expected, strict=True):
        assert step == pytest.approx(values, abs=1e-5, rel=1e-5)
    assert json.loads((job.out / "summary.json").read_text())["world_size"] == 2


def test_a_training_whose_rank_was_killed_comes_back_and_one_that_was_cancelled_does_not(cluster: Cluster, folder: Path) -> None:
    held = folder / "held"
    hold(held, 2)
    job = sbatch(cluster, config(folder / "shards", folder / "killed", BATCH, STEPS), REPLAY_HOLD=str(held))
    job.wait_for(lambda: job.steps() == 2, "the second step")
    os.kill(job.rank(1), signal.SIGKILL)
    job.wait_for(lambda: "back into the queue" in job.log, "the job to requeue itself")
    job.wait_for(lambda: job.log.count("2 nodes are ready") == 2 and job.rank(0), "the second start")
    cluster.command("scancel", str(job.number))
    assert job.wait()[0] == "CANCELLED"
    wait_for(lambda: not [line for line in cluster.queue() if line[0] == str(job.number)], PATIENCE_S, "its end on the nodes")
    assert int(job.facts()["Restarts"]) == 1
    assert "exit code 137: back into the queue" in job.log


def test_a_dead_node_costs_the_training_a_restart_and_the_steps_since_its_checkpoint(cluster: Cluster, folder: Path) -> None:
    held = folder / "held"
    hold(held, 2)
    told = {"REPLAY_HOLD": str(held)}
    job = sbatch(cluster, config(folder / "shards", folder / "bereft", BATCH, STEPS), **told)
    job.wait_for(lambda: job.steps() == 2, "the second step")
    node = _nodes(job)[1]
    cluster.kill_node(node)
    try:
        hold(held, None)
        assert job.wait() == ("COMPLETED", 0), job.log
        assert int(job.facts()["Restarts"]) >= 1
        assert losses(folder / "bereft", *MEASURES) == losses(folder / "two", *MEASURES)
    finally:
        cluster.start_node(node)
    wait_for(lambda: cluster.states()[node] == "idle", PATIENCE_S, f"{node} to come back")
