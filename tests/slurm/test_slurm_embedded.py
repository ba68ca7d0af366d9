"""The real flow, diffusion to shards with the embedded models, as job arrays on a real Slurm: the shards of a local run, byte for byte."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from generation.config import EMBEDDED_WEIGHTS
from pipeline.fileio import read_json, sha256_file
from tests.slurm.cluster import Cluster, wait_for

ROOT = Path(__file__).parents[2]
SETTINGS = ("prompts.num_prompts=8", "run.unit_size=4", "run.seed=3", "generate.steps=4", "shard.samples_per_shard=4")
SITE = (
    "units_per_task=1",
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


def shard_bytes(folder: Path) -> dict[str, str]:
    files = [*folder.glob("shards/*.tar"), folder / "shards" / "index.parquet", folder / "shards" / "manifest.json"]
    return {file.name: sha256_file(file) for file in files}


def test_the_embedded_flow_as_arrays_makes_the_shards_of_a_local_run(cluster: Cluster, tmp_path: Path) -> None:
    site = [part for item in SITE for part in ("--site-set", item)]
    sent = json.loads(passerby(cluster, "submit", tmp_path / "slurm", "--json", *site))
    assert [(job["name"], job["tasks"]) for job in sent["jobs"]][:3] == [("prompts", 1), ("generate-0", 2), ("filter-0", 2)]
    passerby(cluster, "run", tmp_path / "local", "--workers", "1")
    wait_for(lambda: not cluster.queue(), PATIENCE_S, lambda: f"an empty queue; it holds {cluster.queue()}")
    status = json.loads(passerby(cluster, "status", tmp_path / "slurm", "--json"))
    assert status["slurm"]["failures"] == []
    assert shard_bytes(tmp_path / "slurm") == shard_bytes(tmp_path / "local")
    counts = read_json(tmp_path / "slurm" / "shards" / "manifest.json")["counts"]
    print(
        *(f"{row['stage']:<9} seen {row['seen']} == {row['kept']} + {row['dropped']} + {row['failed']}" for row in status["stages"]),
        sep="\n",
    )
    assert all(row["seen"] == row["kept"] + row["dropped"] + row["failed"] > 0 for row in status["stages"])
    assert counts["kept"] > 0
    assert json.loads(passerby(cluster, "submit", tmp_path / "slurm", "--json", *site))["jobs"] == []
