"""Prompts that are to be checked although they are made: the job that does it, what waits for it, and what becomes of a leak."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from generation.config import GenerationConfig
from generation.work import run_stage
from pipeline.config import load
from pipeline.describe import RunPlan, describe
from pipeline.slurm import client, submission, task
from pipeline.slurm.site import SiteConfig
from pipeline.slurm.submit import submit
from pipeline.survey import survey
from tests.unit.pipeline.fake_slurm import FakeSlurm
from tests.unit.pipeline.slurm_run import SlurmRun


@pytest.fixture
def sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSlurm]:
    """What takes the jobs of the real `python -m generation`."""
    slurm = FakeSlurm()
    monkeypatch.setattr(client, "call", slurm)
    before = {number: signal.getsignal(number) for number in task._SIGNALS}
    yield slurm
    for number, handler in before.items():
        signal.signal(number, handler)


def recipe(folder: Path, *against: str) -> Path:
    prompts = {"kind": "table", "file": str(folder / "prompts.jsonl"), "check_against": [str(folder / name) for name in against]}
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({"run": {"folder": str(folder / "run")}, "prompts": prompts}))
    return path


def run_prompts(of: RunPlan, number: int) -> int:
    return task.main(["--submission", str(submission.folder(of.paths, number) / submission.FILE), "--job", "prompts"])


def test_a_check_that_is_asked_for_later_is_made_by_the_task(sent: FakeSlurm, tmp_path: Path) -> None:
    lines = ["a man in a long green raincoat", "a woman with a very large yellow umbrella"]
    for name, texts in {"prompts": lines, "leak": lines[:1], "clean": ["somebody else"]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))
    run_stage("prompts", load(GenerationConfig, recipe(tmp_path)))
    for against, code in (("leak.jsonl", 1), ("clean.jsonl", 0)):
        sent.jobs.clear()
        checked = describe(recipe(tmp_path, against))
        number = submit(checked, SiteConfig()).number
        assert number is not None
        assert run_prompts(checked, number) == code
        assert survey(checked)[0].missing == ([0] if code else [])


def test_a_check_that_is_changed_while_the_task_waits_is_made_by_it(sent: FakeSlurm, tmp_path: Path) -> None:
    for name, text in {"prompts": "a man in a long green raincoat", "a": "somebody", "b": "somebody else"}.items():
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": text}) + "\n")
    number = submit(describe(recipe(tmp_path, "a.jsonl")), SiteConfig()).number
    changed = describe(recipe(tmp_path, "a.jsonl", "b.jsonl"))
    assert submit(changed, SiteConfig()).jobs == []
    assert number is not None
    assert run_prompts(changed, number) == 0
    assert survey(changed)[0].missing == []


def test_a_check_that_is_asked_for_while_the_task_runs_is_made_by_a_second_one(sent: FakeSlurm, tmp_path: Path) -> None:
    for name in ("prompts", "leak"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"prompt": "a man in a long green raincoat"}) + "\n")
    submit(describe(recipe(tmp_path)), SiteConfig())
    begun_with = load(GenerationConfig, recipe(tmp_path))
    sent.set("prompts", "RUNNING")
    running = sent.job("prompts").job_id
    changed = describe(recipe(tmp_path, "leak.jsonl"))
    again = submit(changed, SiteConfig())
    assert [job.name for job in again.jobs] == ["prompts", "shard"]
    assert sent.job("prompts").dependency == f"afterany:{running}"
    assert f"afterok:{sent.job('prompts').job_id}" in sent.job("shard").dependency.split(",")
    assert submit(changed, SiteConfig()).jobs == []
    run_stage("prompts", begun_with)
    assert again.number is not None
    assert run_prompts(changed, again.number) == 1
    assert survey(changed)[0].missing == [0]


@pytest.mark.parametrize("checks", [{}, {"prompts": "captions of today"}])
def test_a_task_that_runs_with_the_checks_of_the_plan_is_waited_for(run: SlurmRun, checks: dict[str, str]) -> None:
    run.checks = checks
    run.submit()
    run.slurm.set("prompts", "RUNNING")
    assert run.submit().jobs == []


def test_a_shard_job_waits_for_the_check_if_nothing_else_is_to_be_made(run: SlurmRun) -> None:
    run.make()
    run.lose("shard", 0)
    run.checks = {"prompts": "captions of today"}
    assert [job.name for job in run.submit().jobs] == ["prompts", "shard"]
    assert run.slurm.job("shard").dependency == f"afterok:{run.slurm.job('prompts').job_id}"


@pytest.mark.parametrize("is_underway", [False, True])
def test_a_shard_job_in_the_queue_gives_way_to_one_that_waits_for_the_check(run: SlurmRun, is_underway: bool) -> None:
    run.make(*(["prompts"] if is_underway else []))
    if not is_underway:
        run.lose("shard", 0)
    run.submit()
    old = run.slurm.job("shard")
    run.checks = {"prompts": "captions of today"}
    assert [job.name for job in run.submit().jobs] == ["prompts", "shard"]
    assert old.states == {0: ("CANCELLED", "None")}
    waits_for = [f"afterok:{run.slurm.job('prompts').job_id}"]
    if is_underway:
        waits_for.append(f"afterany:{run.slurm.job('annotate-0').job_id}")
    assert run.slurm.job("shard").dependency == ",".join(waits_for)
    said = "6 units are in the queue already and do not wait for the check of the prompts; the shards do"
    assert run.said == ([said] if is_underway else [])
    assert run.submit().jobs == []
    assert len(run.said) == is_underway
