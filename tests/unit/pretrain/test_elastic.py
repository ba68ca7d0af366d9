"""A training that is stopped, moved to another number of ranks, killed: the same samples in the same order, and no state lost."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from pipeline.signals import Stopped, StopRequest, stop_requests
from pretrain import checkpoint, loop
from pretrain.config import PretrainConfig
from pretrain.data import TrainingSet
from pretrain.optimizer_state import STATE_FILE
from pretrain.order import Place, places
from pretrain.train import TERMS, train
from tests.unit.pretrain import replay
from tests.unit.pretrain.ranks import run_ranks
from tests.unit.pretrain.samples import make_shards, tiny_config

SAMPLES, BATCH, BLOCKS = 60, 24, 12  # an epoch is two and a half steps; blocks: tests/unit/pretrain/replay.py
ENGINES: dict[int, dict[str, Any]] = {2: {"kind": "deepspeed", "zero_stage": 1}, 3: {"kind": "deepspeed", "zero_stage": 2}}


def _config(world: int, shards: Path, out: Path, steps: int) -> PretrainConfig:
    return replay.config(shards, out, BATCH, steps, **ENGINES.get(world, {}))


def _segment(rank: int, world: int, shards: Path, out: Path, steps: int, stop_in: int | None) -> list[Place]:
    """Train until the end, or until the last rank gets SIGTERM in the middle of step `stop_in`; what this rank has loaded, in order."""
    loaded: list[Place] = []
    get, agree = TrainingSet.__getitem__, loop.agree

    def recorded(self: TrainingSet, place: Place) -> Any:
        loaded.append(place)
        return get(self, place)

    def interrupted(terms: Any, total: Any, step: int, *rest: Any) -> Any:
        if step == stop_in and rank == world - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return agree(terms, total, step, *rest)

    os.environ |= {"LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29512"}
    with pytest.MonkeyPatch.context() as patch, stop_requests() as stop, replay.replayed(BLOCKS):
        patch.setattr(TrainingSet, "__getitem__", recorded)
        patch.setattr(loop, "agree", interrupted)
        if stop_in is None:
            train(_config(world, shards, out, steps), stop)
        else:
            with pytest.raises(Stopped, match="run again to continue"):
                train(_config(world, shards, out, steps), stop)
    return loaded


def _in_order(ranks: list[list[Place]]) -> list[Place]:
    """What all ranks loaded, step by step."""
    local = BATCH // len(ranks)
    return [place for start in range(0, len(ranks[0]), local) for own in ranks for place in own[start : start + local]]


def _run(world: int, folder: Path, out: Path, steps: int, stop_in: int | None) -> list[Place]:
    (here := folder / f"{out.name}-{world}-{stop_in}").mkdir()
    return _in_order(run_ranks(_segment, world, here, world, folder / "shards", out, steps, stop_in))


def _state(out: Path) -> dict[str, torch.Tensor]:
    """Weights and moments."""
    folder = checkpoint.resolve(out / "checkpoint")
    return load_file(folder / checkpoint.MODEL_FILE) | load_file(folder / checkpoint.TRAINING_STATE / STATE_FILE)


def _losses(out: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: line[f"train/{name}"] for name in (*TERMS, "gradient_norm", "total")} | {"step": line["step"]} for line in lines]


def test_four_ranks_then_two_then_three_then_one_equal_one_rank_that_was_not_stopped(tmp_path: Path) -> None:
    """Samples and their order, losses of every step, weights and moments. Two ranks run DeepSpeed with ZeRO 1, three with ZeRO 2."""
    make_shards(tmp_path / "shards", train=SAMPLES)
    steps = 8
    legs = ((4, 1), (2, 3), (3, 4), (1, None))
    seen = [place for world, stop_in in legs for place in _run(world, tmp_path, tmp_path / "legs", steps, stop_in)]
    assert seen == _run(1, tmp_path, tmp_path / "whole", steps, None) == places(42, SAMPLES, 0, steps * BATCH)
    assert len(set(seen)) == len(seen)
    found, expected = _losses(tmp_path / "legs"), _losses(tmp_path / "whole")
    assert [line["step"] for line in found] == list(range(1, steps + 1))
    for line, values in zip(found, expected, strict=True):
        assert line == pytest.approx(values, abs=1e-5, rel=1e-5)
    end, wanted = _state(tmp_path / "legs"), _state(tmp_path / "whole")
    assert end.keys() == wanted.keys()
    assert {float(value) for name, value in end.items() if name.endswith("/step")} == {float(steps)}
    assert all(torch.allclose(end[name].float(), wanted[name].float(), atol=1e-5, rtol=1e-4) for name in wanted)


def _stopped_and_not(rank: int, shards: Path, folder: Path) -> None:
    for name, stop_in in (("whole", None), ("parts", 1), ("parts", None)):
        _segment(rank, 2, shards, folder / name, 3, stop_in)
        dist.barrier()


def test_two_ranks_that_were_stopped_end_with_the_bits_of_two_that_were_not(tmp_path: Path) -> None:
    make_shards(tmp_path / "shards", train=SAMPLES)
    run_ranks(_stopped_and_not, 2, tmp_path, tmp_path / "shards", tmp_path)
    whole, parts = _state(tmp_path / "whole"), _state(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    assert _losses(tmp_path / "whole") == _losses(tmp_path / "parts")


def _killed_while_saving(rank: int, shards: Path, out: Path, file: str) -> None:
    """SIGKILL in the middle of writing `file` of the second checkpoint."""
    saved = []

    def write(path: Path, data: Any) -> None:
        if path.name == file and len(saved) == 1:
            path.with_name(f".{path.name}.tmp").write_bytes(b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        saved.extend([path] if path.name == file else [])
        {"model.safetensors": write_bytes, "metadata.json": write_json}.get(path.name, write_json)(path, data)

    write_bytes, write_json = checkpoint.write_bytes, checkpoint.write_json
    name = "write_bytes" if file == checkpoint.MODEL_FILE else "write_json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            checkpoint, name, write if name == "write_json" else lambda p, d: write(p, d) if p.name == file else write_bytes(p, d)
        )
        train(tiny_config(shards, out, train={"steps": 3, "save_every": 1}), StopRequest())


@pytest.mark.parametrize("file", [checkpoint.MODEL_FILE, checkpoint.METADATA_FILE])
def test_after_a_kill_while_saving_the_last_whole_checkpoint_is_used(shards: Path, tmp_path: Path, file: str) -> None:
    with pytest.raises(AssertionError, match="a rank died"):
        run_ranks(_killed_while_saving, 1, tmp_path, shards, tmp_path / "killed", file)
    root = tmp_path / "killed" / "checkpoint"
    assert checkpoint.latest(root) == root / "step-00000001"
    assert (root / "step-00000002").is_dir()
    for name in ("killed", "whole"):
        train(tiny_config(shards, tmp_path / name, train={"steps": 3, "save_every": 1}), StopRequest())
    killed, whole = _state(tmp_path / "killed"), _state(tmp_path / "whole")
    assert all(torch.equal(killed[name], whole[name]) for name in whole)
    assert not list(root.rglob(".*.tmp"))
