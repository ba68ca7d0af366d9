"""DeepSpeed and its plain torch twin compute the same steps, alone and with two ranks, and continue from what they saved.

The process group of one that DeepSpeed needs stays until the tests end: DeepSpeed keeps references to it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.signals import StopRequest
from pretrain.config import PretrainConfig
from pretrain.engine import deepspeed_config, pick_device
from pretrain.objective import weighted_total
from pretrain.optimizer_state import STATE_FILE, read_state
from pretrain.settings import EngineConfig, OptimConfig
from pretrain.train import train
from tests.unit.pretrain.ranks import run_ranks
from tests.unit.pretrain.samples import tiny_config

CLOSE = 2e-5  # totals are about 15; the engines add up in another order


def _config(shards: Path, out: Path, kind: str, zero_stage: int = 0, checkpointing: str = "none", **sections: object) -> PretrainConfig:
    engine = {"kind": kind, "zero_stage": zero_stage, "gradient_checkpointing": checkpointing, "device": "cpu"}
    optim = {"lr": 1e-3, "clip_norm": 0.5, "warmup": 0}
    return tiny_config(shards, out, engine=engine, optim=optim, **{"train": {"steps": 3}, **sections})


def _totals(out: Path) -> list[float]:
    return [json.loads(line)["train/total"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(("zero_stage", "parts", "checkpointing"), [(0, 1, "none"), (1, 1, "all"), (2, 2, "none")])
def test_deepspeed_equals_the_torch_twin(shards: Path, tmp_path: Path, zero_stage: int, parts: int, checkpointing: str) -> None:
    """With gradient checkpointing too, which the twin does not use."""
    length = {"steps": 3, "accumulation": parts}
    train(_config(shards, tmp_path / "twin", "torch", train=length), StopRequest())
    train(_config(shards, tmp_path / "deepspeed", "deepspeed", zero_stage, checkpointing, train=length), StopRequest())
    assert _totals(tmp_path / "deepspeed") == pytest.approx(_totals(tmp_path / "twin"), abs=CLOSE)
    told = json.loads((tmp_path / "deepspeed" / "deepspeed.json").read_text())
    assert (told["zero_optimization"]["stage"], told["gradient_accumulation_steps"]) == (zero_stage, parts)
    assert not (tmp_path / "twin" / "deepspeed.json").exists()


@pytest.mark.parametrize(("first", "second"), [("deepspeed", "deepspeed"), ("torch", "deepspeed"), ("deepspeed", "torch")])
def test_an_engine_continues_from_the_state_of_itself_and_of_the_other(shards: Path, tmp_path: Path, first: str, second: str) -> None:
    """A copy of the folder as it was after step 2 is continued; `summary.json` is what tells a finished training."""
    configs = [
        _config(shards, tmp_path / "out", kind, int(kind == "deepspeed"), train={"steps": 3, "save_every": 2}) for kind in (first, second)
    ]
    train(configs[0], StopRequest())
    whole = _totals(tmp_path / "out")
    (tmp_path / "out" / "checkpoint" / "latest").write_text("step-00000002\n")
    train(configs[1], StopRequest())
    assert _totals(tmp_path / "out") == (whole if first == second else pytest.approx(whole, abs=CLOSE))


def test_the_optimizer_state_of_another_model_or_a_damaged_one_is_refused(tmp_path: Path) -> None:
    names = {torch.nn.Parameter(torch.zeros(2)): "weight"}
    (folder := tmp_path / "training_state").mkdir()
    with pytest.raises(ContractError, match=rf"{STATE_FILE} does not exist; delete the folder {tmp_path} and use another one"):
        read_state(folder, names)
    save_file({"weight/exp_avg": torch.zeros(3), "weight/exp_avg_sq": torch.zeros(2)}, folder / STATE_FILE)
    with pytest.raises(ContractError, match="belongs to another model"):
        read_state(folder, names)


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


@pytest.mark.parametrize(("kind", "zero_stage"), [("torch", 0), ("deepspeed", 0), ("deepspeed", 1)])
def test_a_gradient_that_is_not_finite_is_found_where_all_losses_are(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, zero_stage: int
) -> None:
    """DeepSpeed's own norm of such gradients has been a number in some of its versions."""

    def steep(terms: dict[str, torch.Tensor], weights: dict[str, float]) -> torch.Tensor:
        return weighted_total(terms, weights) + (0 * terms["itc"]).sqrt()  # 0, of infinite slope

    monkeypatch.setattr("pretrain.train.weighted_total", steep)
    with pytest.raises(StageError, match=r"not finite at step 1: gradient_norm; nothing was updated \(rank 0: "):
        train(_config(shards, tmp_path, kind, zero_stage), StopRequest())


def _two_ranks(rank: int, shards: Path, folder: Path) -> None:
    os.environ |= {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}
    length = {"steps": 3, "save_every": 2}
    train(_config(shards, folder / "twin", "torch", train=length), StopRequest())
    train(_config(shards, folder / "deepspeed", "deepspeed", 1, train=length), StopRequest())
    whole = _totals(folder / "deepspeed")
    if rank == 0:
        (folder / "deepspeed" / "checkpoint" / "latest").write_text("step-00000002\n")
    dist.barrier()
    train(_config(shards, folder / "deepspeed", "deepspeed", 1, train=length), StopRequest())
    assert _totals(folder / "deepspeed") == whole


def test_two_ranks_of_deepspeed_and_of_the_twin_agree_and_save_the_same_state(shards: Path, tmp_path: Path) -> None:
    run_ranks(_two_ranks, 2, tmp_path, shards, tmp_path)
    assert _totals(tmp_path / "deepspeed") == pytest.approx(_totals(tmp_path / "twin"), abs=CLOSE)
    states = [load_file(tmp_path / name / "checkpoint" / "step-00000003" / "training_state" / STATE_FILE) for name in ("twin", "deepspeed")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-5) for name in states[0])
