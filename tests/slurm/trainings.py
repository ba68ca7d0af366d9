"""Trainings as jobs of the test cluster: the batch scripts of slurm/, tiny models, two ranks and more over gloo."""

import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipeline.config import to_yaml
from pretrain import checkpoint
from tests.slurm.cluster import Cluster, wait_for

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600.0  # a very busy machine needs minutes
BLOCKS = 4  # that ranks may share
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY")
# Stands for .venv/bin/python: the ranks draw by blocks (tests/unit/pretrain/replay.py); BROKEN_NODE and SILENT_NODE do what they say
PYTHON = f"""#!/bin/bash
if [ "$3" = --check ] && [ "$SLURMD_NODENAME" = "$BROKEN_NODE" ]; then echo "bash: no such file" >&2; exit 127; fi
if [ "$2" = pretrain ] && [ "$SLURMD_NODENAME" = "$SILENT_NODE" ]; then exec sleep 600; fi
if [ "$1 $2" = "-m pretrain" ]; then shift 2; set -- -m tests.unit.pretrain.replay "$@"; fi
export PYTHONPATH={ROOT}
exec {sys.executable} "$@"
"""


@dataclass(frozen=True)
class Job:
    cluster: Cluster
    number: int
    out: Path
    log_file: Path

    @property
    def log(self) -> str:
        return self.log_file.read_text() if self.log_file.exists() else ""

    def facts(self) -> dict[str, str]:
        """What `scontrol show job` says."""
        text = self.cluster.command("scontrol", "--oneliner", "show", "job", str(self.number))
        return dict(part.split("=", 1) for part in text.split() if "=" in part)

    def wait(self) -> tuple[str, int]:
        """Until it has ended for good: its state and exit code."""
        wait_for(lambda: self.facts()["JobState"] in ENDED, PATIENCE_S, lambda: f"the end of {self.facts()}: {self.log}")
        facts = self.facts()
        return facts["JobState"], int(facts["ExitCode"].split(":")[0])

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Fails at once if the job ends before."""

        def met() -> object:
            assert self.facts()["JobState"] not in ENDED or condition(), self.log
            return condition()

        wait_for(met, PATIENCE_S, lambda: f"{what}: {self.log}")

    def starts(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "slurm.jsonl").read_text().splitlines()]

    def rank(self, number: int) -> int | None:
        """The process of a rank, as seen from here, if it runs."""
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                line, environment = (process / "cmdline").read_bytes(), (process / "environ").read_bytes().split(b"\0")
                if b".replay" in line and str(self.out).encode() in line and f"SLURM_PROCID={number}".encode() in environment:
                    return int(process.name)
        return None

    def steps(self) -> int:
        return len(lines(self.out)) if (self.out / "metrics.jsonl").exists() else 0


def sbatch(cluster: Cluster, config: Any, *options: str, package: str = "pretrain", **environment: str) -> Job:
    """Two nodes; the last option that names a number of tasks wins."""
    out = Path(config.out)
    recipe, log = out.with_suffix(".yaml"), out.with_suffix(".log")
    recipe.write_text(to_yaml(config))
    python = out.with_suffix(".python")
    python.write_text(PYTHON)
    python.chmod(0o755)
    fixed = ("--parsable", "--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=0", "--cpus-per-task=1", "--mem=1300", "--time=30:00")
    env = {**cluster.env, "PASSERBY_PYTHON": str(python), "REPLAY_BLOCKS": str(BLOCKS), **environment}
    argv = ["sbatch", *fixed, f"--output={log}", *options, f"slurm/{package}.sbatch", str(recipe)]
    done = subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return Job(cluster, int(done.stdout), out, log)


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def losses(out: Path, *names: str) -> list[dict[str, float]]:
    """Of each step: what depends on arithmetic alone, times left out."""
    return [{name: line[f"train/{name}"] for name in names} for line in lines(out)]


def state(out: Path) -> dict[str, torch.Tensor]:
    """Weights, and the optimizer's state, of the newest checkpoint."""
    folder = checkpoint.resolve(out / "checkpoint")
    return load_file(folder / checkpoint.MODEL_FILE) | load_file(folder / checkpoint.TRAINING_STATE / "optimizer.safetensors")


def hold(file: Path, step: int | None) -> None:
    """Let no training that was told of `file` (REPLAY_HOLD) go beyond the start of `step`; None: let it go."""
    if step is None:
        file.unlink()
        return
    written = file.with_suffix(".tmp")
    written.write_text(str(step))
    written.replace(file)
