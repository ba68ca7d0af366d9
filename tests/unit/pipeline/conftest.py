"""The fake flow in place of `python -m generation`, and one finished run of it."""

import shutil
import signal
import sys
from pathlib import Path

import pytest

from pipeline import describe, local, workers
from pipeline.slurm import client, submission, task
from pipeline.slurm.task import Place
from tests.unit.pipeline.fake_flow import write_config
from tests.unit.pipeline.fake_slurm import FakeSlurm
from tests.unit.pipeline.slurm_run import SlurmRun

ROOT = Path(__file__).parents[3]


def _replace_generation(patch: pytest.MonkeyPatch) -> None:
    command = (sys.executable, "-m", "tests.unit.pipeline.fake_flow")
    patch.setattr(describe, "GENERATION", command)
    patch.setattr(workers, "GENERATION", command)
    patch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def fake_generation(monkeypatch):
    """Orchestration starts tests/unit/pipeline/fake_flow.py instead of the real stages."""
    _replace_generation(monkeypatch)


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """(folder with recipe.yaml and the finished run, what was said meanwhile). Not to be changed."""
    folder, lines = tmp_path_factory.mktemp("finished"), []
    with pytest.MonkeyPatch.context() as patch:
        _replace_generation(patch)
        local.run(describe.describe(write_config(folder)), workers=2, say=lines.append)
    return folder, lines


@pytest.fixture
def finished_copy(finished, tmp_path, fake_generation):
    """A folder with its own copy of the finished run and a recipe for it."""
    shutil.copytree(finished[0] / "run", tmp_path / "run")
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of the fake flow that a fake Slurm takes."""
    slurm = FakeSlurm()
    monkeypatch.setattr(client, "call", slurm)
    return SlurmRun(tmp_path, slurm)


@pytest.fixture
def task_slurm(monkeypatch):
    fake = FakeSlurm()
    monkeypatch.setattr(client, "call", fake)
    monkeypatch.setattr(client, "REQUEUED_S", 0.05)
    monkeypatch.setattr(task, "POLL_S", 0.02)
    before = {number: signal.getsignal(number) for number in task._SIGNALS}
    yield fake
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def place(tmp_path, task_slurm):
    """A task of four units of `annotate` that are to be made; their records wait in away/."""
    flow = SlurmRun(tmp_path, task_slurm, num_units=4)
    flow.make("prompts", "generate", "filter", "recrop", "caption", "annotate")
    away = flow.paths.root / "away"
    away.mkdir()
    for unit in range(4):
        flow.paths.done("annotate", unit).rename(away / f"{unit:06d}.json")
    flow.submit(units_per_task=4)
    record = submission.read_all(flow.paths)[0]
    return Place(submission.folder(flow.paths, 1) / "submission.json", record, record.job("annotate-0"), 0, "110_0", "n1")
