"""DeepSpeed and its plain torch twin compute the same steps, alone and with two ranks, and continue from what they saved.

The process group of one that DeepSpeed needs stays until the tests end: DeepSpeed keeps references to it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.signals import StopRequest
from pretrain.config import PretrainConfig
from pretrain.engine import deepspeed_config, pick_device
from pretrain.settings import EngineConfig, OptimConfig
from pretrain.train import train
from tests.unit.pretrain.samples import tiny_config

CLOSE = 2e-5  # totals are about 15; the engines add up in another order


def _config(shards: Path, out: Path, kind: str, zero_stage: int = 0, **sections: object) -> PretrainConfig:
    engine = {"kind": kind, "zero_stage": zero_stage, "device": "cpu"}
    optim = {"lr": 1e-3, "clip_norm": 0.5, "warmup": 0}
    return tiny_config(shards, out, engine=engine, optim=optim, **{"train": {"steps": 3}, **sections})


def _totals(out: Path) -> list[float]:
    return [json.loads(line)["train/total"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("zero_stage", [0, 1])
def test_deepspeed_equals_the_torch_twin(shards: Path, tmp_path: Path, zero_stage: int) -> None:
    train(_config(shards, tmp_path / "twin", "torch"), StopRequest())
    train(_config(shards, tmp_path / "deepspeed", "deepspeed", zero_stage), StopRequest())
    assert _totals(tmp_path / "deepspeed") == pytest.approx(_totals(tmp_path / "twin"), abs=CLOSE)


def test_deepspeed_continues_from_its_own_state(shards: Path, tmp_path: Path) -> None:
    """A copy of the folder as it was after step 2 is continued; `summary.json` is what tells a finished training."""
    config = _config(shards, tmp_path / "out", "deepspeed", 1, train={"steps": 3, "save_every": 2})
    train(config, StopRequest())
    whole = _totals(tmp_path / "out")
    (tmp_path / "out" / "checkpoint" / "latest").write_text("step-00000002\n")
    train(config, StopRequest())
    assert _totals(tmp_path / "out") == whole


def test_the_state_of_another_engine_is_refused(tmp_path: Path, shards: Path) -> None:
    from pretrain.engine import TorchEngine
    from pretrain.optim import parameter_groups
    from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
    from pretrain.train import build_model

    config = _config(shards, tmp_path, "torch")
    model = build_model(config, CaptionTokenizer(EMBEDDED_VOCAB))
    groups = parameter_groups(model, model.config, config.optim)
    engine = TorchEngine(model, groups, config.optim, config.engine, torch.device("cpu"))
    with pytest.raises(ContractError, match="another engine saved this checkpoint"):
        engine.load_state(tmp_path)


def test_deepspeed_is_never_left_to_clip_by_itself() -> None:
    for clip in (0.0, 0.5):
        assert deepspeed_config(OptimConfig(clip_norm=clip), EngineConfig())["gradient_clipping"] == clip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="torch sees no GPU"):
        pick_device("cuda")


@pytest.mark.parametrize("ending", ["pass", "raise KeyError(0)"])
def test_the_process_group_is_gone_at_the_end_whatever_the_end(ending: str) -> None:
    script = f"""
import atexit, sys
import torch.distributed as dist
from pretrain.engine import pick_device, start_process_group
from pretrain.settings import EngineConfig
atexit.register(lambda: print("left" if not dist.is_initialized() else "still there"))
start_process_group(EngineConfig(kind="deepspeed"), pick_device("cpu"))
assert dist.is_initialized()
{ending}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "left\n"
    assert (done.returncode == 0) == (ending == "pass")


def _two_ranks(rank: int, shards: Path, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    train(_config(shards, folder / "twin", "torch"), StopRequest())
    train(_config(shards, folder / "deepspeed", "deepspeed", 1), StopRequest())
    dist.destroy_process_group()


def test_two_ranks_of_deepspeed_and_of_the_twin_agree(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}.items():
        monkeypatch.setenv(name, value)
    torch.multiprocessing.spawn(_two_ranks, (shards, tmp_path), nprocs=2)
    assert _totals(tmp_path / "deepspeed") == pytest.approx(_totals(tmp_path / "twin"), abs=CLOSE)
