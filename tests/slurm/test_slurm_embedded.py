"""The real flow, diffusion to shards with the embedded models, on a real Slurm: the shards of a local run, byte for byte, faults or not."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from generation.config import EMBEDDED_WEIGHTS
from pipeline.fileio import sha256_file
from pipeline.paths import RunPaths
from tests.slurm.cluster import Cluster, wait_for
from tests.slurm.flow import task_pids
from tests.slurm.tally import tell

ROOT = Path(__file__).parents[2]
SETTINGS = ("prompts.num_prompts=8", "run.unit_size=2", "run.seed=3", "generate.steps=4", "shard.samples_per_shard=4")
SITE = (
    "units_per_task=2",
    "gpu={cpus: 1, gpus: 0, memory: null, time_limit: '0:30:00'}",
    "cpu={cpus: 1, memory: null, time_limit: '0:30:00'}",
)
PATIENCE_S = 900.0  # models load seven times over
pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not (EMBEDDED_WEIGHTS / "captioner" / "config.json").is_file(), reason="the embedded models are not in this checkout"
    ),
]


def passerby(cluster: Cluster, verb: str, folder: Path, *options: str) -> str:
    argv = [sys.executable, "-m", "pipeline", verb, "configs/generation/embedded.yaml"]
    for item in (*SETTINGS, f"run.folder={folder}"):
        argv += ["--set", item]
    done = subprocess.run([*argv, *options], cwd=ROOT, env=cluster.env, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def submit(cluster: Cluster, folder: Path, site: tuple[str, ...] = SITE, *options: str) -> list[dict[str, Any]]:
    """The jobs that were sent."""
    sent = json.loads(passerby(cluster, "submit", folder, "--json", *(part for item in site for part in ("--site-set", item)), *options))
    return sent["jobs"]


@pytest.fixture(scope="module")
def local(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Future[dict[str, str]]"]:
    """The shards of a local run, which is made beside the cluster's work."""
    folder = tmp_path_factory.mktemp("local") / "run"

    def make() -> dict[str, str]:
        passerby(cluster, "run", folder, "--workers", "1")
        return shard_bytes(folder)

    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(make)


def shard_bytes(folder: Path) -> dict[str, str]:
    files = [*folder.glob("shards/*.tar"), folder / "shards" / "index.parquet", folder / "shards" / "manifest.json"]
    return {file.name: sha256_file(file) for file in files}


def finish(cluster: Cluster, folder: Path, expected: dict[str, str]) -> dict[str, Any]:
    """What status says once nothing is in the queue any more; nothing is lost, and the shards are the expected ones."""
    wait_for(lambda: not cluster.queue(), PATIENCE_S, lambda: f"an empty queue; it holds {cluster.queue()}")
    status = json.loads(passerby(cluster, "status", folder, "--json"))["slurm"]
    assert status["failures"] == []
    tell(RunPaths(folder))
    assert shard_bytes(folder) == expected
    return status


def test_the_embedded_flow_as_arrays_makes_the_shards_of_a_local_run(
    cluster: Cluster, tmp_path: Path, local: "Future[dict[str, str]]"
) -> None:
    folder = tmp_path / "slurm"
    assert [(job["name"], job["tasks"]) for job in submit(cluster, folder)][:3] == [("prompts", 1), ("generate-0", 2), ("filter-0", 2)]
    status = finish(cluster, folder, local.result())
    assert status["restarts"] == []
    assert submit(cluster, folder) == []


def test_fused_embedded_tasks_that_are_killed_and_requeued_make_the_shards_of_a_local_run(
    cluster: Cluster, tmp_path: Path, local: "Future[dict[str, str]]"
) -> None:
    """A worker is killed and a task requeued with a unit in hand, then the shard job is requeued at its work."""
    folder = tmp_path / "slurm"
    jobs = submit(cluster, folder, (*SITE, "gpu.memory=2500M"), "--set", "run.execution=fused")
    ids = {job["name"]: job["job_id"] for job in jobs}
    assert [(job["name"], job["tasks"]) for job in jobs] == [("prompts", 1), ("fused-0", 2), ("shard", 1)]

    def worker(job: str, element: int = 0) -> list[int]:
        return task_pids("-m generation", str(folder), job, element)

    done = RunPaths(folder).done
    wait_for(lambda: done("generate", 0).exists() or done("generate", 1).exists(), PATIENCE_S, "the first pictures of a task")
    os.kill(worker("fused-0", 0)[0], signal.SIGKILL)
    cluster.command("scontrol", "requeue", f"{ids['fused-0']}_1")
    wait_for(lambda: worker("shard"), PATIENCE_S, "the shard job at its work")
    cluster.command("scontrol", "requeue", str(ids["shard"]))
    status = finish(cluster, folder, local.result())
    causes = {(group["stage"], group["cause"]) for group in status["restarts"]}
    assert causes == {("generate", "killed"), ("generate", "preempted"), ("shard", "preempted")}
