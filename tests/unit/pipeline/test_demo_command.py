"""The demo's folder, its settings, and its table of steps."""

import json
from pathlib import Path

import pytest

from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.demo import steps as table
from pipeline.demo.command import claim_folder, demo, empty_folder
from pipeline.demo.execute import Progress
from pipeline.demo.layout import DemoPaths
from pipeline.demo.settings import DemoSettings
from pipeline.describe import RunPlan
from pipeline.fileio import write_json
from pipeline.graph import STAGES
from pipeline.paths import RunPaths


def test_a_folder_with_foreign_files_is_neither_written_nor_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ContractError, match="no demo made"):
        claim_folder(DemoPaths(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_fresh_does_not_help_against_a_foreign_folder(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    write_json(tmp_path / "demo.json", {"made_by": "somebody else"})
    with pytest.raises(ContractError, match="no demo made"):
        demo(tmp_path, None, fresh=True)
    assert (tmp_path / "thesis.tex").exists()


def test_emptying_removes_files_folders_and_links_but_not_what_links_lead_to(tmp_path):
    paths, outside = DemoPaths(tmp_path / "demo"), tmp_path / "outside"
    claim_folder(paths)
    outside.mkdir()
    (outside / "precious.txt").write_text("x")
    (paths.root / "link").symlink_to(outside)
    (paths.root / "generation").mkdir()
    (paths.root / "generation" / "a.txt").write_text("x")
    (paths.root / "report.html").write_text("x")
    empty_folder(paths)
    assert [path.name for path in paths.root.iterdir()] == ["demo.json"]
    assert (outside / "precious.txt").exists()
    claim_folder(paths)  # still ours


def test_one_seed_is_refused_because_it_has_no_spread():
    with pytest.raises(ConfigError, match="spread"):
        DemoSettings(seeds=(3,))


def test_a_missing_recipe_is_named():
    with pytest.raises(ConfigError, match=r"nirvana\.yaml"):
        DemoSettings(generation="configs/nirvana.yaml").recipe("generation")


def test_a_missing_package_is_named_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.demo.settings.find_spec", lambda name: None if name == "jinja2" else name)
    with pytest.raises(ConfigError, match="jinja2 are not installed"):
        demo(tmp_path / "demo", None, fresh=False)
    assert not (tmp_path / "demo").exists()


@pytest.fixture
def steps(tmp_path, monkeypatch):
    """Builds the table without asking `generation describe`, with recipes of its own."""
    for name in ("generation", "pretrain", "finetune"):
        (tmp_path / f"{name}.yaml").write_text("{}\n")
    plan = RunPlan(
        config={}, paths=RunPaths(tmp_path / "run"), num_units=4, num_images=64, digests={spec.name: spec.name for spec in STAGES}
    )
    monkeypatch.setattr(table, "describe", lambda recipe, changes: plan)

    def build(**changes) -> list:
        recipes = {name: str(tmp_path / f"{name}.yaml") for name in ("generation", "pretrain", "finetune")}
        return table.build_steps(DemoPaths(Path("demo")), DemoSettings(**recipes, **changes))

    return build


def test_both_groups_are_trained_by_the_same_command_but_for_the_start(steps):
    argv = {step.name: list(step.commands[0].argv) for step in steps()}
    pretrained, scratch = argv["finetune-pretrained"], argv["finetune-scratch"]
    differing = [(a, b) for a, b in zip(pretrained, scratch, strict=True) if a != b]
    assert len(differing) == 2  # where it starts from, and where it writes
    assert pretrained[-2:] == ["--seeds", "0,1,2"]


def test_a_changed_recipe_changes_the_digest_of_its_step_and_of_those_that_build_on_it(steps):
    before = {step.name: step.digest for step in steps()}
    after = {step.name: step.digest for step in steps(pretrain_set=("optim.lr=1e-5",))}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"pretrain", "finetune-pretrained", "submission"}


def test_generation_progress_names_the_stage_at_work_and_ends_at_one(tmp_path):
    run = RunPaths(tmp_path)

    def finish(stage: str, unit: int) -> None:
        write_json(run.done(stage, unit), {})

    assert table.generation_progress(run, 2).share == 0
    finish("prompts", 0)
    finish("generate", 0)
    progress = table.generation_progress(run, 2)
    assert progress.text == "generate, 1 of 2 units"
    assert 0 < progress.share < 1
    for spec in STAGES:
        for unit in range(1 if spec.kind == "single" else 2):
            finish(spec.name, unit)
    assert table.generation_progress(run, 2).share == pytest.approx(1)


def test_training_progress_reads_the_newest_whole_lines(tmp_path):
    logs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    assert table.training_progress(logs) == Progress(0.0, "loading")
    logs[0].write_text(json.dumps({"step": 120, "num_steps": 120}) + "\n")
    logs[1].write_text(json.dumps({"step": 30, "num_steps": 120}) + "\n" + '{"step": 6')
    assert table.training_progress(logs) == Progress(0.625, "training 2 of 2, step 30 of 120")
    assert table.training_progress(logs[1:]).text == "step 30 of 120"
