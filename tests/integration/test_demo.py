"""`passerby demo` in miniature: every command real, every model the embedded one, few pictures and few steps."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from pipeline.fileio import read_json

ROOT = Path(__file__).parents[2]
WEIGHTS = ROOT / "generation" / "embedded" / "weights"
SETTINGS = """
generation_set: [prompts.num_prompts=24, run.unit_size=12, generate.steps=8]
pretrain_set: [train.steps=6, train.global_batch=4]
finetune_set: [train.steps=4, train.global_batch=8, eval.times=1, eval.shortlist=8]
seeds: [0, 1]
"""
pytestmark = pytest.mark.skipif(
    not (WEIGHTS / "diffusion" / "model_index.json").is_file() or not (WEIGHTS / "captioner" / "config.json").is_file(),
    reason="the embedded models are not trained yet (python -m generation.embedded train-diffusion, train-captioner)",
)


def demo(out: Path, settings: Path) -> str:
    argv = [sys.executable, "-m", "pipeline", "demo", "--out", str(out), "--settings", str(settings)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """(folder, settings, what the first call printed)"""
    root = tmp_path_factory.mktemp("demo")
    (root / "settings.yaml").write_text(SETTINGS)
    return root / "out", root / "settings.yaml", demo(root / "out", root / "settings.yaml")


def test_the_metrics_hold_every_promised_number(finished):
    metrics = read_json(finished[0] / "metrics.json")
    generation = metrics["generation"]
    assert generation["images"] == 24
    assert generation["images"] == generation["kept"] + sum(generation["dropped"].values()) + sum(generation["failed"].values())
    assert generation["kept"] > 0
    for stage in ("generate", "filter", "recrop", "caption", "annotate", "shard", "pretrain", "finetune", "total"):
        assert metrics["seconds"][stage] > 0
    for name in ("itc", "itm", "mlm", "iac", "iam", "mam"):
        assert metrics["losses"][name]["first"] > 0
        assert metrics["losses"][name]["last"] > 0
    for group in ("pretrained", "scratch"):
        assert 0 <= metrics["retrieval"]["recall_at_1"][group]["mean"] <= 1
        assert metrics["retrieval"]["recall_at_1"][group]["std"] >= 0


def test_each_stage_takes_what_the_stage_before_kept(finished):
    stages = read_json(finished[0] / "metrics.json")["generation"]["stages"]
    names = list(stages)
    for before, after in pairwise(names):
        assert stages[after]["seen"] == stages[before]["kept"]
    for stage in stages.values():
        assert stage["seen"] == stage["kept"] + sum(stage["dropped"].values()) + sum(stage["failed"].values())


def test_the_submission_is_whole_and_the_report_shows_it(finished):
    submission = json.loads((finished[0] / "submission.json").read_text())["results"]
    queries = (finished[0] / "miniature" / "test" / "test_text.txt").read_text().splitlines()
    assert [result["text"] for result in submission] == queries
    page = (finished[0] / "report.html").read_text()
    assert page.count('class="query"') == 5
    assert "http" not in page


def test_a_second_call_does_nothing_and_changes_nothing(finished):
    out, settings, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"}
    printed = demo(out, settings)
    assert printed.count("already done") == 6
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file() and path.name != ".lock"} == before
    assert str(out / "report.html") in printed
