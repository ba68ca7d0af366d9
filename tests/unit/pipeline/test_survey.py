"""A run of other settings is refused by the names of the settings."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pipeline import graph
from pipeline.completion import State
from pipeline.config import dump_yaml
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.describe import RunPlan, describe
from pipeline.paths import RunPaths
from pipeline.record_cache import RecordCache
from pipeline.survey import StageSurvey, judge_all, look, refuse_any_foreign, survey, to_json

OLD: dict[str, Any] = {
    "run": {"name": "a", "seed": 0, "unit_size": 8},
    "generate": {"steps": 20, "batch_size": 4},
    "filter": {"thresholds": {"min_body_share": 0.5, "min_measures": {}}, "pose_model": "embedded"},
}


def refusal(folder: Path, stage: str, new: dict[str, Any]) -> str:
    paths = RunPaths(folder)
    paths.config.write_text(dump_yaml(OLD))
    plan = RunPlan(config=new, paths=paths, num_units=1, num_images=8, digests={stage: "new"})
    counts = Counts(seen=8, kept=8, dropped=0, failed=0, reasons={})
    record = DoneRecord(stage=stage, unit=0, config_digest="old", input_digest="i", counts=counts, seconds=1.0, files={}, code_version="0")
    with pytest.raises(ContractError) as info:
        refuse_any_foreign(plan, [StageSurvey(graph.find(stage), {0: record}, {0: State.FOREIGN})])
    return str(info.value)


def test_the_fields_that_differ_are_named_with_both_values(tmp_path: Path) -> None:
    text = refusal(tmp_path, "generate", {**OLD, "run": {**OLD["run"], "name": "b", "seed": 7}, "generate": {"steps": 30, "batch_size": 4}})
    assert "(run.seed 0 -> 7, generate.steps 20 -> 30; digest old, now new)" in text
    assert f"go on as config.yaml says by `passerby run {tmp_path}`, or remove this stage's" in text
    assert "--redo generate" in text
    assert "redecide" not in text


@pytest.mark.parametrize(("stage", "is_drawn"), [("prompts", True), ("generate", True), ("filter", False)])
def test_for_more_pictures_another_seed_is_advised(tmp_path: Path, stage: str, is_drawn: bool) -> None:
    text = refusal(tmp_path, stage, {**OLD, stage: {**OLD.get(stage, {}), "num_prompts": 30}})
    assert ("another run.name (for more pictures another run.seed too" in text) is is_drawn


def test_other_thresholds_alone_have_a_cheaper_way_out(tmp_path: Path) -> None:
    changed = {"thresholds": {"min_body_share": 0.7, "min_measures": {}}, "pose_model": "embedded"}
    text = refusal(tmp_path, "filter", {**OLD, "filter": changed})
    assert "filter.thresholds.min_body_share 0.5 -> 0.7" in text
    assert f"`passerby redecide {tmp_path} --set ...`" in text


def test_a_redecide_that_was_stopped_is_ended_with_its_thresholds_or_taken_back(tmp_path: Path) -> None:
    """Also where the run is asked for other settings: config.yaml's are refused then too."""
    (tmp_path / "filter").mkdir()
    file, command = RunPaths(tmp_path).redecided, f"`passerby redecide {tmp_path}"
    newest = {"min_body_share": 0.7, "min_measures": {"clip": 0.2}}
    file.write_text(json.dumps({"old": {"min_body_share": 0.6, "min_measures": {}}, "newest": newest}))  # "old": the digest of the unit
    sets = "--set filter.thresholds.min_body_share=0.7 --set 'filter.thresholds.min_measures={\"clip\": 0.2}'"
    asked = {**OLD, "filter": {**OLD["filter"], "thresholds": newest}}
    for text in (refusal(tmp_path, "filter", OLD), refusal(tmp_path, "filter", asked)):
        assert f"a redecide was stopped, whose thresholds are in {file}; digest old" in text
        assert f"end it by {command} {sets} --yes`, take it back by {command} --yes` (config.yaml's thresholds), or remove" in text
        assert "go on as config.yaml says" not in text
    assert "filter.thresholds.min_body_share 0.5 -> 0.7" in text
    file.write_text(json.dumps({"old": newest, "newest": OLD["filter"]["thresholds"]}))
    assert f"end it by {command} --yes`, or remove" in refusal(tmp_path, "filter", OLD)
    file.write_text(json.dumps({"old": OLD["filter"]["thresholds"]}))  # left behind: config.yaml and all units have them
    assert f"judge the stored measures anew with {command} --set ...`" in refusal(tmp_path, "filter", asked)


@pytest.mark.parametrize("left", ['{"another": {}}', '{"old": 5}', "no JSON", "5"])
def test_what_a_redecide_left_behind_explains_no_other_unit(tmp_path: Path, left: str) -> None:
    (tmp_path / "filter").mkdir()
    RunPaths(tmp_path).redecided.write_text(left)
    assert "but it was edited, or a file that it names" in refusal(tmp_path, "filter", OLD)


def test_an_entry_that_came_or_went_is_named(tmp_path: Path) -> None:
    more = {"thresholds": {"min_body_share": 0.5, "min_measures": {"clip": 0.2}}, "pose_model": "embedded"}
    assert "filter.thresholds.min_measures.clip unset -> 0.2" in refusal(tmp_path, "filter", {**OLD, "filter": more})
    assert "(generate.batch_size 4 -> unset; digest" in refusal(tmp_path, "generate", {**OLD, "generate": {"steps": 20}})


def test_a_named_file_that_has_changed_is_said_to_have_changed(tmp_path: Path) -> None:
    assert "but it was edited, or a file that it names, or passerby itself, has changed" in refusal(tmp_path, "generate", OLD)


def seen(plan: RunPlan, records: RecordCache) -> list[dict[str, Any]]:
    return [to_json(stage) for stage in judge_all(plan, records)]


@pytest.fixture
def refreshed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The run folders whose records are looked at from now on."""
    folders: list[Path] = []
    refresh = RecordCache.refresh
    monkeypatch.setattr(RecordCache, "refresh", lambda cache, stages: folders.append(cache.paths.root) or refresh(cache, stages))
    return folders


def test_a_runs_records_are_read_once_while_its_config_is_resolved(finished_copy: Path, refreshed: list[Path]) -> None:
    run = finished_copy / "run"
    expected = [to_json(stage) for stage in survey(describe(run))]
    refreshed.clear()
    assert seen(*look(run, [])) == expected
    assert refreshed == [run]


def test_records_of_a_recipe_are_those_of_the_folder_it_names(finished_copy: Path, refreshed: list[Path]) -> None:
    expected = seen(*look(finished_copy / "run", []))
    assert seen(*look(finished_copy / "recipe.yaml", [])) == expected
    (finished_copy / "run").rename(finished_copy / "moved")
    other = [f'run.folder="{finished_copy / "moved"}"']
    assert seen(*look(finished_copy / "recipe.yaml", other)) == expected
    assert refreshed[-1] == finished_copy / "moved"


def test_a_refused_config_is_told_before_a_broken_record(finished_copy: Path) -> None:
    (finished_copy / "run" / "caption" / "done" / "000000.json").write_text("{")
    with pytest.raises(ConfigError, match="unknown key"):
        look(finished_copy / "run", ["bad=1"])
    with pytest.raises(ContractError, match=r"000000\.json is not JSON"):
        look(finished_copy / "run", [])


def test_the_stage_package_is_stopped_when_we_are(finished_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    popen = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        started.append(popen(*arguments, **options))
        return started[-1]

    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipeline.describe.subprocess.Popen", start)
    with pytest.raises(KeyboardInterrupt):
        describe(finished_copy / "run", meanwhile=interrupted)
    assert started[0].returncode is not None
    monkeypatch.setattr("pipeline.describe._TIMEOUT_S", 0.01)
    with pytest.raises(StageError, match=r"gave no answer for .* in 0\.01 s"):
        describe(finished_copy / "run")
    assert started[1].returncode is not None
