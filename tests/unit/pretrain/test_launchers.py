"""Two ranks under torchrun and under the deepspeed launcher compute what one process computes; under srun: tests/slurm."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config import to_yaml
from pipeline.signals import StopRequest
from pretrain.metrics_log import read_lines
from pretrain.train import TERMS, train
from tests.unit.pretrain import replay
from tests.unit.pretrain.samples import tiny_config

ROOT = Path(__file__).parents[3]
BATCH, STEPS, BLOCKS = 8, 2, 2
LAUNCHERS = {
    "torchrun": ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"),
    "deepspeed": ("deepspeed.launcher.runner", "--num_gpus=2", "--no_ssh_check", "--module"),
}

KILLED_ONCE = """
import os, signal, time
from pretrain import cli, loop

agree = loop.agree

def killed(terms, total, step, *rest):
    if step == 1 and os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)
    return agree(terms, total, step, *rest)

if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "1":
    time.sleep(3)  # so that the first rank would find the address of the one that was killed
loop.agree = killed
cli.main()
"""

DIED_ONCE = """
import os, time
from pathlib import Path
import torch
import torch.distributed as dist
from pretrain.config import EngineConfig
from pretrain.engine import start_process_group

start_process_group(EngineConfig(), torch.device("cpu"))
folder, mark = Path(os.environ["FOLDER"]), Path(os.environ["FOLDER"]) / "died"
if not mark.exists():
    dist.barrier()
    if os.environ["RANK"] == "1":
        mark.touch()
        os._exit(1)
    time.sleep(600)  # until its agent follows the other one
total = torch.tensor(dist.get_rank())
dist.all_reduce(total)
(folder / f"sum-{int(total)}-of-restart-{os.environ['TORCHELASTIC_RESTART_COUNT']}").touch()
"""


@pytest.fixture(scope="module")
def alone(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, float]]:
    """metrics.jsonl of one process."""
    out = tmp_path_factory.mktemp("alone")
    with replay.replayed(BLOCKS):
        train(replay.config(shards, out, BATCH, STEPS), StopRequest())
    return read_lines(out / "metrics.jsonl")


@pytest.mark.parametrize("name", LAUNCHERS)
def test_two_ranks_of_a_launcher_equal_one_process(name: str, alone: list[dict[str, float]], shards: Path, tmp_path: Path) -> None:
    """To 1e-5; DeepSpeed with ZeRO 1."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(replay.config(shards, tmp_path / "out", BATCH, STEPS, kind="deepspeed", zero_stage=1)))
    launcher, *options = LAUNCHERS[name]
    port = (f"--master_port={free_port()}",) if name == "deepspeed" else ()
    env = {**os.environ, "DS_ACCELERATOR": "cpu", "REPLAY_BLOCKS": str(BLOCKS), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", launcher, *port, *options, "tests.unit.pretrain.replay", "train", "--config", str(recipe)]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"world_size": 2' in done.stdout
    found = read_lines(tmp_path / "out" / "metrics.jsonl")
    assert len(found) == STEPS
    for line, expected in zip(found, alone, strict=True):
        names = [f"train/{term}" for term in (*TERMS, "gradient_norm", "total")]
        assert {n: line[n] for n in names} == pytest.approx({n: expected[n] for n in names}, abs=1e-5, rel=1e-5)


def test_torchrun_restarts_all_ranks_after_one_was_killed(shards: Path, tmp_path: Path) -> None:
    """The second attempt goes on from the checkpoint of the first."""
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(tiny_config(shards, tmp_path / "out", train={"steps": 3, "save_every": 1})))
    (tmp_path / "killed_once.py").write_text(KILLED_ONCE)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PASSERBY_RENDEZVOUS_S": "60"}
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "--max-restarts=1")
    argv = [*launcher, str(tmp_path / "killed_once.py"), "train", "--config", str(recipe)]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"steps": 3' in done.stdout
    assert "3 steps (1.0 epochs) from step " in done.stderr


def test_two_torchrun_agents_that_count_their_restarts_differently_start_again(tmp_path: Path) -> None:
    """The agent whose rank died counts a restart; the other one follows it without counting."""
    (tmp_path / "died_once.py").write_text(DIED_ONCE)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PASSERBY_RENDEZVOUS_S": "60", "FOLDER": str(tmp_path)}
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nnodes=2",
        "--nproc_per_node=1",
        "--max-restarts=1",
        "--monitor-interval=0.1",
    ]
    argv = [*launcher, "--rdzv-backend=c10d", f"--rdzv-endpoint=localhost:{free_port()}", str(tmp_path / "died_once.py")]
    agents = [subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    try:
        told = [agent.communicate(timeout=120)[0] for agent in agents]
    finally:
        for agent in agents:
            agent.terminate()  # and its rank with it
    assert [agent.returncode for agent in agents] == [0, 0], "\n".join(told)
    assert {path.name for path in tmp_path.glob("sum-*")} == {"sum-1-of-restart-0", "sum-1-of-restart-1"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
