"""Every method with two ranks of DeepSpeed under torchrun or the deepspeed launcher: what one process computes, and exact continuation."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from finetune.train import train
from pipeline.config import to_yaml
from pipeline.signals import StopRequest
from pretrain.checkpoint import resolve
from tests.conftest import ROOT
from tests.unit.finetune.replay import assert_same_training, losses, recipe, replayed
from tests.unit.pretrain.test_launchers import LAUNCHERS, free_port

ZERO = {"aptm": 2, "aptm_persons": 1, "aptm_attributes": 0, "aptm_contrastive": 1, "irra": 2, "blip": 1, "clip": 0}
BY = {
    "torchrun": ("aptm", "aptm_persons", "aptm_attributes", "aptm_contrastive"),
    "deepspeed": ("irra", "blip", "clip"),
}


@pytest.fixture(scope="module")
def data(miniature: Path, people: Path) -> dict[str, Path]:
    return {"challenge": miniature, "people": people}


@pytest.fixture(scope="module", params=list(BY))
def launched(request: pytest.FixtureRequest, data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """NAME/whole and NAME/parts of two ranks for the methods of one launcher."""
    folder, names = tmp_path_factory.mktemp(request.param), BY[request.param]
    for name in names:
        engine = {"kind": "deepspeed", "zero_stage": ZERO[name], "device": "cpu"}
        (folder / f"{name}.yaml").write_text(to_yaml(recipe(name, data, folder / name, engine=engine)))
    launcher, *options = LAUNCHERS[request.param]
    port = (f"--master_port={free_port()}",) if request.param == "deepspeed" else ()
    env = {**os.environ, "DS_ACCELERATOR": "cpu", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    argv = [sys.executable, "-m", launcher, *port, *options, "tests.unit.finetune.replay", str(folder), *names]
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr.count("stopped at step 2 of 4") == len(BY[request.param]) * 2, done.stderr
    return folder


def test_two_ranks_compute_what_one_process_computes_with_the_whole_batch(launched: Path, data: dict[str, Path]) -> None:
    """The one process is on plain torch."""
    for name in (path.stem for path in launched.glob("*.yaml")):
        with replayed():
            train(recipe(name, data, launched / name / "alone"), StopRequest())
        assert_same_training(launched / name / "whole", launched / name / "alone")
        summary = json.loads((launched / name / "whole" / "summary.json").read_text())
        assert summary["world_size"] == 2
        assert summary["test"]["all"]


def test_two_ranks_that_got_a_sigterm_end_with_the_bits_of_two_that_did_not(launched: Path) -> None:
    for name in (path.stem for path in launched.glob("*.yaml")):
        folders = [resolve(launched / name / part / "checkpoint") for part in ("whole", "parts")]
        for file in ("model.safetensors", "training_state/optimizer.safetensors"):
            whole, parts = (load_file(folder / file) for folder in folders)
            assert whole.keys() == parts.keys()
            assert all(torch.equal(whole[key], parts[key]) for key in whole), (name, file)
        assert losses(launched / name / "whole") == losses(launched / name / "parts")
