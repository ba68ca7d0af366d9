"""`passerby run` over the fake flow: real worker processes, no models."""

import sys
import time

import pytest
import yaml

from pipeline import graph, local, workers
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.describe import describe, parse_answer
from pipeline.lock import run_lock
from pipeline.machine import CPUS, Gpu, num_cpus
from pipeline.survey import survey
from tests.unit.pipeline.fake_flow import snapshot, write_config


def run(folder, lines=None, *, overrides=(), workers=2, **options):
    """Run the recipe of `folder`; progress goes to `lines`."""
    said = [] if lines is None else lines
    return local.run(describe(folder / "recipe.yaml", overrides), workers=workers, say=said.append, **options)


def test_a_run_makes_all_units_of_all_stages_and_says_how_far_it_is(finished, fake_generation):
    folder, lines = finished
    stages = survey(describe(folder / "recipe.yaml"))
    assert [(s.spec.name, len(s.done), s.missing) for s in stages] == [
        (spec.name, 1 if spec.kind == "single" else 4, []) for spec in graph.STAGES
    ]
    assert any(line.startswith("generate") and "4/4 units" in line and "images/s" in line and "took" in line for line in lines)
    config = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    assert config["num_units"] == 4
    assert sorted(p.name for p in (folder / "run" / "logs").glob("caption*")) == ["caption-0000.log", "caption-0001.log"]


def test_a_finished_run_starts_no_worker_and_changes_nothing(finished_copy, monkeypatch):
    monkeypatch.setattr(local, "run_tasks", lambda *_: pytest.fail("a worker was started"))
    before, lines = snapshot(finished_copy / "run"), []
    run(finished_copy, lines)
    assert lines == []
    assert snapshot(finished_copy / "run") == before


def test_only_what_is_missing_is_made_and_with_the_same_bytes(finished_copy):
    before = snapshot(finished_copy / "run")
    for name in ("filter/done/000001.json", "shards/done/000000.json", "caption/units/000002.parquet"):
        (finished_copy / "run" / name).unlink()
    lines = []
    run(finished_copy, lines)
    assert {line.split()[0] for line in lines} == {"filter", "caption", "shard"}
    assert snapshot(finished_copy / "run") == before


def test_another_config_is_refused_before_any_work_with_the_way_out(finished_copy):
    before = (finished_copy / "run" / "config.yaml").read_bytes()
    with pytest.raises(ContractError, match=r"another config of stage 'caption' .*--redo caption"):
        run(finished_copy, overrides=["salt={caption: 1}"])
    assert (finished_copy / "run" / "config.yaml").read_bytes() == before


def test_redo_removes_the_stage_and_all_later_ones_and_says_so(finished_copy):
    before, lines = snapshot(finished_copy / "run"), []
    run(finished_copy, lines, overrides=["salt={caption: 1}"], redo="caption")
    removed = [line for line in lines if line.startswith("removed")]
    assert [line.split("/run/")[1] for line in removed] == ["shards (1 done units)", "annotate (4 done units)", "caption (4 done units)"]
    after = snapshot(finished_copy / "run")
    assert {n for n in before if before[n] != after[n] and "/done/" not in n} == {"shards/manifest.json"}  # it names the digest
    run(finished_copy, overrides=["salt={caption: 1}"])


def test_redo_removes_nothing_where_an_earlier_stage_is_of_another_config(finished_copy):
    before = snapshot(finished_copy / "run")
    with pytest.raises(ContractError, match=r"another config of stage 'filter'"):
        run(finished_copy, redo="caption", overrides=["salt={filter: 1}"])
    assert snapshot(finished_copy / "run") == before


def test_fresh_removes_all_stages_and_nothing_else_and_takes_any_config(finished_copy):
    (finished_copy / "run" / "notes.txt").write_text("mine")
    lines = []
    run(finished_copy, lines, overrides=["num_units=1"], fresh=True)
    assert sum(line.startswith("removed") for line in lines) == len(graph.STAGES)
    after = snapshot(finished_copy / "run")
    assert after["notes.txt"] == b"mine"
    assert [name for name in after if name.startswith("filter/units")] == ["filter/units/000000.parquet"]


def test_an_unknown_stage_to_redo_removes_nothing(finished_copy):
    before = snapshot(finished_copy / "run")
    with pytest.raises(ConfigError, match="stage 'captoin' does not exist"):
        run(finished_copy, redo="captoin")
    assert snapshot(finished_copy / "run") == before


@pytest.mark.parametrize(
    ("trouble", "error", "message"),
    [
        (
            "fail",
            StageError,
            r"stage 'generate', task \d of 2 ended with exit code 1; the end of its log .*generate-000\d\.log:\n.*does not load",
        ),
        ("refuse", ConfigError, r"ended with exit code 2; .*\n.*caption\.model='nowhere'"),
        ("die", StageError, r"was killed by SIGKILL \(by the system when memory runs out[^\n]*\n  \(nothing; [0-9.]+ MB are free there\)"),
        ("lie", StageError, r"ended well, but units 0, 1, 2, 3 are not done"),
    ],
)
def test_a_failed_worker_ends_the_run_with_the_end_of_its_log(tmp_path, fake_generation, trouble, error, message):
    write_config(tmp_path, trouble={"generate": trouble})
    with pytest.raises(error, match=message):
        run(tmp_path)
    assert survey(describe(tmp_path / "recipe.yaml"))[0].missing == []  # what was finished stays


def test_a_failed_worker_shows_nothing_of_an_earlier_start(tmp_path, fake_generation):
    write_config(tmp_path, trouble={"prompts": "fail"})
    for _ in range(2):
        with pytest.raises(StageError) as info:
            run(tmp_path)
    assert str(info.value).count("does not load") == 1


def test_two_runs_of_one_folder_at_once_are_refused(finished_copy):
    plan = describe(finished_copy / "recipe.yaml")
    with run_lock(plan.paths), pytest.raises(ConfigError, match="is being worked on by process"):
        local.run(plan)


def test_a_run_folder_stands_for_its_config_wherever_it_lies(finished_copy):
    moved = finished_copy / "moved: [to here]"
    (finished_copy / "run").rename(moved)
    plan = describe(moved)
    assert plan.paths.root == moved
    assert all(not stage.missing for stage in survey(plan))
    (moved / "annotate" / "done" / "000000.json").unlink()
    local.run(plan, workers=1, say=lambda line: None)
    assert not survey(plan)[-1].missing


def test_a_refused_config_keeps_the_words_of_the_stage_package(tmp_path, fake_generation):
    with pytest.raises(ConfigError) as info:
        describe(write_config(tmp_path, bad=1))
    assert str(info.value) == f"{tmp_path}/recipe.yaml: unknown key bad; did you mean run?"
    with pytest.raises(ConfigError, match="does not exist; accepted: a recipe"):
        describe(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match=r"holds no config\.yaml"):
        describe(tmp_path)


@pytest.mark.parametrize("text", ["", "{}", '{"config": {}, "run": {"folder": "x", "num_units": 1, "num_images": 1}, "stages": []}'])
def test_an_answer_without_the_agreed_parts_is_refused(text):
    with pytest.raises(ContractError, match="generation describe"):
        parse_answer(text)


def test_missing_units_are_dealt_out_to_as_many_workers_as_there_is_work_for(finished, fake_generation):
    plan = describe(finished[0] / "recipe.yaml")
    tasks = workers.plan_tasks("filter", plan.paths, [1, 4, 9], workers=2)
    assert [task.argv[-2:] for task in tasks] == [("--units", "1,9"), ("--units", "4")]
    assert len(workers.plan_tasks("filter", plan.paths, [0, 1], workers=16)) == 2


def test_a_stage_for_gpus_gets_one_worker_a_gpu(finished, fake_generation, monkeypatch):
    plan = describe(finished[0] / "recipe.yaml")
    monkeypatch.setattr(workers, "num_cpus", lambda: 4)
    monkeypatch.setattr(workers, "gpus", list)
    assert len(workers.plan_tasks("generate", plan.paths, range(10), None)) == 4
    assert len(workers.plan_tasks("fused", plan.paths, range(10), None)) == 1, "it fills the cores by itself"
    monkeypatch.setattr(workers, "gpus", lambda: [Gpu("2", "H", 1), Gpu("5", "H", 1)])
    for command in ("generate", "fused"):
        on_gpu = workers.plan_tasks(command, plan.paths, range(10), None)
        assert [task.env["CUDA_VISIBLE_DEVICES"] for task in on_gpu] == ["2", "5"]
    assert len(workers.plan_tasks("filter", plan.paths, range(10), None)) == 4


def test_workers_beside_each_other_share_the_cores(finished, fake_generation, monkeypatch):
    plan = describe(finished[0] / "recipe.yaml")
    monkeypatch.setattr(workers, "num_cpus", lambda: 6)
    monkeypatch.setattr(workers, "gpus", list)
    for command, given, share in (("fused", None, "6"), ("filter", None, "1"), ("filter", 4, "1"), ("filter", 2, "3"), ("filter", 16, "1")):
        tasks = workers.plan_tasks(command, plan.paths, range(10), given)
        assert {task.env[CPUS] for task in tasks} == {share}, command
    monkeypatch.undo()
    cores = num_cpus()
    for text, expected in (("1", 1), ("0", 1), (str(cores + 5), cores), ("", cores), ("many", cores)):
        monkeypatch.setenv(CPUS, text)
        assert num_cpus() == expected


def test_a_worker_on_the_cpu_keeps_its_memory_unless_the_user_says_otherwise(monkeypatch):
    names = ("OMP_NUM_THREADS", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    assert workers.worker_environment(None).keys() >= set(names)
    assert not workers.worker_environment("0").keys() & set(names)
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "4096")
    assert workers.worker_environment(None)["MALLOC_TRIM_THRESHOLD_"] == "4096"


def test_a_fused_run_makes_the_same_files_with_one_worker_for_the_chain(finished, tmp_path, fake_generation):
    write_config(tmp_path)
    lines = []
    stages = run(tmp_path, lines, overrides=["run.execution=fused"])
    assert [(stage.spec.name, stage.missing) for stage in stages] == [(spec.name, []) for spec in graph.STAGES]
    assert list(dict.fromkeys(line.split()[0] for line in lines)) == ["prompts", "fused", "shard"]
    assert any(line.startswith("fused") and "4/4 units" in line for line in lines)
    assert snapshot(tmp_path / "run") == snapshot(finished[0] / "run")


def test_a_run_begun_one_way_goes_on_the_other_way(finished_copy):
    before = snapshot(finished_copy / "run")
    for execution, lost in (
        ("fused", "filter/done/000001.json"),
        ("staged", "generate/units/000002.tar"),
        ("fused", "annotate/done/000003.json"),
    ):
        (finished_copy / "run" / lost).unlink()
        run(finished_copy, overrides=[f"run.execution={execution}"])
        assert snapshot(finished_copy / "run") == before


def test_a_failure_stops_the_other_workers(tmp_path, fake_generation, monkeypatch):
    env = {"PATH": "/usr/bin:/bin"}
    slow = workers.Task((sys.executable, "-c", "import time; time.sleep(60)"), env, tmp_path / "slow.log", "slow")
    bad = workers.Task((sys.executable, "-c", "raise SystemExit(1)"), env, tmp_path / "bad.log", "bad")
    started = time.monotonic()
    with pytest.raises(StageError, match="bad ended with exit code 1"):
        workers.run_tasks([slow, bad], lambda: None)
    assert time.monotonic() - started < 30
