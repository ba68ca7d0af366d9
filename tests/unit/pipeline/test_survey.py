"""A run of other settings is refused by the names of the settings."""

from pathlib import Path
from typing import Any

import pytest

from pipeline import graph
from pipeline.completion import State
from pipeline.config import dump_yaml
from pipeline.contracts.errors import ContractError
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.describe import RunPlan
from pipeline.paths import RunPaths
from pipeline.survey import StageSurvey, refuse_any_foreign

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
    assert "--redo generate" in text
    assert "redecide" not in text


def test_other_thresholds_alone_have_a_cheaper_way_out(tmp_path: Path) -> None:
    changed = {"thresholds": {"min_body_share": 0.7, "min_measures": {}}, "pose_model": "embedded"}
    text = refusal(tmp_path, "filter", {**OLD, "filter": changed})
    assert "filter.thresholds.min_body_share 0.5 -> 0.7" in text
    assert f"`passerby redecide {tmp_path} --set ...`" in text


def test_an_entry_that_came_or_went_is_named(tmp_path: Path) -> None:
    more = {"thresholds": {"min_body_share": 0.5, "min_measures": {"clip": 0.2}}, "pose_model": "embedded"}
    assert "filter.thresholds.min_measures.clip unset -> 0.2" in refusal(tmp_path, "filter", {**OLD, "filter": more})
    assert "(generate.batch_size 4 -> unset; digest" in refusal(tmp_path, "generate", {**OLD, "generate": {"steps": 20}})


def test_a_named_file_that_has_changed_is_said_to_have_changed(tmp_path: Path) -> None:
    assert "a file that they name, or passerby itself, has changed" in refusal(tmp_path, "generate", OLD)
