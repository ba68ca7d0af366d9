"""`passerby run` with the embedded models, killed with SIGKILL in the middle, ends with the shards of a run that was left alone."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from generation.config import EMBEDDED_WEIGHTS
from pipeline.fileio import read_json, sha256_file

ROOT = Path(__file__).parents[2]
SETTINGS = ("prompts.num_prompts=12", "run.unit_size=4", "run.seed=3", "generate.steps=6", "shard.samples_per_shard=4")
pytestmark = pytest.mark.skipif(
    not (EMBEDDED_WEIGHTS / "captioner" / "config.json").is_file(), reason="the embedded models are not in this checkout"
)


def command(folder: Path, execution: str = "staged") -> list[str]:
    workers = ("--workers", "2") if execution == "staged" else ()
    argv = [sys.executable, "-m", "pipeline", "run", "configs/generation/embedded.yaml", *workers]
    for item in (*SETTINGS, f"run.folder={folder}", f"run.execution={execution}"):
        argv += ["--set", item]
    return argv


def run_to_the_end(folder: Path) -> None:
    done = subprocess.run(command(folder), cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def killed_when(folder: Path, marker: str, execution: str) -> None:
    """Start the run and kill the whole of it a moment after the first file that matches `marker` has appeared."""
    process = subprocess.Popen(command(folder, execution), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not any(folder.glob(marker)) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(random.Random(marker).uniform(0, 0.5))
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()


def shard_bytes(folder: Path) -> dict[str, str]:
    files = [*folder.glob("shards/*.tar"), folder / "shards" / "index.parquet", folder / "shards" / "manifest.json"]
    return {file.name: sha256_file(file) for file in files}


def test_a_run_killed_in_three_stages_fused_and_staged_ends_with_the_same_shards(tmp_path: Path) -> None:
    run_to_the_end(tmp_path / "whole")
    for marker, execution in (("generate/done/*.json", "fused"), ("filter/done/*.json", "staged"), ("caption/done/*.json", "fused")):
        killed_when(tmp_path / "cut", marker, execution)
    run_to_the_end(tmp_path / "cut")
    assert shard_bytes(tmp_path / "cut") == shard_bytes(tmp_path / "whole")
    counts = read_json(tmp_path / "cut" / "shards" / "manifest.json")["counts"]
    assert counts["seen"] == counts["kept"] + counts["dropped"] + counts["failed"] > 0
