"""Other thresholds on stored measures give what the filter would have given, and nothing of another config survives."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from generation.cli import main
from generation.config import FilterConfig, GenerationConfig, PromptsConfig, RunConfig
from generation.digests import stage_digests
from generation.filter_decision import Thresholds, decide
from generation.redecide import redecide
from pipeline.config import to_dict, to_yaml
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.contracts.stage import Drop, Fail, Item, Keep, Outcome
from pipeline.fileio import read_json, write_bytes, write_json
from pipeline.inputs import UnitInput
from pipeline.lock import run_lock
from pipeline.paths import RunPaths
from pipeline.runner import run_units
from pipeline.tables import read_rows

WHOLE = {
    "luma_std": 30.0,
    "entropy_bits": 6.0,
    "colour_variance": 200.0,
    "laplacian_variance": 50.0,
    "noise_sigma": 1.0,
    "jpeg_bytes_per_px": 0.3,
    "num_persons": 1,
    "visible_keypoints": 30,
    **{f"presence_{part}": 1.0 for part in ("nose", "shoulders", "hips", "knees", "ankles")},
    **{f"visibility_{part}": 1.0 for part in ("knees", "ankles")},
    **{f"margin_{side}": 0.1 for side in ("top", "bottom", "left", "right")},
    "leg_ratio": 1.5,
    "head_ratio": 0.4,
    "body_share": 0.8,
    "box_width_px": 80.0,
    "box_height_px": 220.0,
    "box_aspect": 0.36,
}


class Measured:
    """Stands for the pose model: image i is as sharp as i; the fifth cannot be read."""

    name, reads_images, writes_images, batch_size = "filter", False, False, 4

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds

    def setup(self) -> None: ...
    def teardown(self) -> None: ...

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        return [self.one(item) for item in batch]

    def one(self, item: Item) -> Outcome:
        if item.key == "000000005_00":
            return Fail("corrupt_image")
        row = {"measures": {**WHOLE, "laplacian_variance": float(int(item.key[:9]))}, "keypoints": [[1.0, 2.0, 0.5, 0.5]]}
        reason = decide(row["measures"], self.thresholds)  # type: ignore[arg-type]
        return Keep(row) if reason is None else Drop(reason, row)


def make_run(folder: Path, sharpness: float) -> GenerationConfig:
    config = GenerationConfig(
        run=RunConfig(folder=str(folder), unit_size=8),
        prompts=PromptsConfig(num_prompts=16),
        filter=FilterConfig(thresholds=Thresholds(min_laplacian_variance=sharpness)),
    )
    items = [Item(f"{i:09d}_00", {"prompt": f"p{i}"}) for i in range(16)]
    inputs = {unit: UnitInput(items[8 * unit : 8 * unit + 8], f"input {unit}") for unit in range(2)}
    digest = stage_digests(config)["filter"]
    run_units(Measured(config.filter.thresholds), RunPaths(folder), range(2), config_digest=digest, inputs=inputs.__getitem__)
    write_bytes(RunPaths(folder).config, to_yaml(config).encode())
    return config


def with_sharpness(config: GenerationConfig, value: float) -> GenerationConfig:
    return replace(config, filter=replace(config.filter, thresholds=replace(config.filter.thresholds, min_laplacian_variance=value)))


def files(folder: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in (".lock", "config.yaml")):
        data = path.read_bytes()
        if path.parent.name == "done":
            data = json.dumps({k: v for k, v in json.loads(data).items() if k != "seconds"}).encode()
        found[path.relative_to(folder).as_posix()] = data
    return found


@pytest.mark.parametrize(("before", "after"), [(6.0, 9.0), (9.0, 6.0), (6.0, 6.0), (6.0, 5.5)])
def test_the_result_is_what_the_filter_writes_under_the_new_thresholds(tmp_path: Path, before: float, after: float) -> None:
    config = make_run(tmp_path / "run", before)
    make_run(tmp_path / "fresh", after)
    answer = redecide(with_sharpness(config, after), apply=True)
    assert answer["kept_before"] + answer["kept_after"] == sum(16 - ceil(s) for s in (before, after))
    assert files(tmp_path / "run") == files(tmp_path / "fresh")
    assert "min_laplacian_variance: " + str(after) in RunPaths(tmp_path / "run").config.read_text()


def test_without_yes_nothing_changes_and_the_answer_says_what_would(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, 6.0)
    before = files(tmp_path)
    change = ["--set", "filter.thresholds.min_laplacian_variance=9"]
    assert main(["redecide", str(tmp_path), *change, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["applied"], answer["kept_before"], answer["kept_after"]) == (False, 10, 7)
    assert answer["moves"] == [{"before": "kept", "after": "blurred_image", "images": 3, "examples": [f"{i:09d}_00" for i in (6, 7, 8)]}]
    assert main(["redecide", str(tmp_path), *change]) == 0
    assert "add --yes to do it" in capsys.readouterr().out
    assert files(tmp_path) == before
    assert main(["redecide", str(tmp_path), *change, "--yes"]) == 0
    assert files(tmp_path) != before


def test_later_stages_are_removed_and_named(tmp_path: Path) -> None:
    config = make_run(tmp_path, 6.0)
    write_bytes(tmp_path / "recrop" / "done" / "000000.json", b"{}")
    write_bytes(tmp_path / "shards" / "manifest.json", b"{}")
    answer = redecide(with_sharpness(config, 7.0), apply=False)
    assert answer["later"] == {"recrop": 1}
    redecide(with_sharpness(config, 7.0), apply=True)
    assert not (tmp_path / "recrop").exists()
    assert not (tmp_path / "shards").exists()


def test_where_no_image_moves_the_old_thresholds_are_advised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, 6.0)
    change = ["--set", "filter.thresholds.min_laplacian_variance=5.5"]
    main(["redecide", str(tmp_path), *change])
    assert "add --yes to do it" in capsys.readouterr().out, "nothing would be lost"
    write_bytes(tmp_path / "recrop" / "done" / "000000.json", b"{}")
    main(["redecide", str(tmp_path), *change])
    out = capsys.readouterr().out
    assert "kept: 10 -> 10 (no image moves)\nkeep the old thresholds: --yes would gain nothing, and remove recrop (1 units)" in out
    assert "add --yes" not in out


def test_key_points_are_never_decoded(tmp_path: Path) -> None:
    """That took most of the time at a million images; here it would fail."""
    config = make_run(tmp_path, 6.0)
    file = RunPaths(tmp_path).units("filter", 0, "parquet")
    table = pq.read_table(file)
    place = table.schema.get_field_index("keypoints")
    pq.write_table(table.set_column(place, table.field(place), pa.array(["no JSON"] * table.num_rows)), file)
    assert redecide(with_sharpness(config, 9.0), apply=False)["kept_after"] == 7
    assert redecide(with_sharpness(config, 9.0), apply=True)["kept_after"] == 7
    with pytest.raises(ContractError, match="is not a readable Parquet file"):
        read_rows(file)


@pytest.mark.parametrize("after", [9.0, 6.0, 7.0])  # the same, the old ones, others
def test_killed_at_any_unit_it_may_be_ended_with_any_thresholds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: float) -> None:
    from generation import redecide as module

    config = make_run(tmp_path / "run", 6.0)
    make_run(tmp_path / "fresh", after)
    real, paths = module.write_json, RunPaths(tmp_path / "run")

    def dies(path: Path, data: object) -> None:
        if path == paths.done("filter", 1):
            raise KeyboardInterrupt
        real(path, data)

    monkeypatch.setattr(module, "write_json", dies)
    for value in (8.0, 7.0, 8.0, 9.0):  # all may have left units; the newest stands last
        with pytest.raises(KeyboardInterrupt):
            redecide(with_sharpness(config, value), apply=True)
    monkeypatch.undo()
    assert paths.done_units("filter") == [0]  # unit 1 lost its record; `passerby run` would make it again
    assert [thresholds["min_laplacian_variance"] for thresholds in read_json(paths.redecided).values()] == [7.0, 8.0, 9.0]
    redecide(with_sharpness(config, after), apply=True)
    ended, fresh = ({k: v for k, v in files(tmp_path / name).items() if "000001." not in k} for name in ("run", "fresh"))
    assert ended == fresh


def test_after_a_kill_the_old_thresholds_are_something_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where no image moves; what was left behind goes with the next that finds nothing to do."""
    from generation import redecide as module

    config = make_run(tmp_path, 6.0)
    file = RunPaths(tmp_path).redecided
    monkeypatch.setattr(module, "write_bytes", lambda *_: pytest.fail("config.yaml is written last"))
    with pytest.raises(pytest.fail.Exception):
        redecide(with_sharpness(config, 5.5), apply=True)
    monkeypatch.undo()
    left = file.read_bytes()
    assert main(["redecide", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "a redecide was stopped: 2 units have other thresholds than config.yaml\nnothing was changed; add --yes to do it" in out
    assert main(["redecide", str(tmp_path), "--yes"]) == 0
    assert "done; go on with" in capsys.readouterr().out
    write_bytes(file, left)
    with run_lock(RunPaths(tmp_path)), pytest.raises(ConfigError, match="worked on"):  # it may be the other's
        redecide(config, apply=True)
    assert file.exists()
    assert main(["redecide", str(tmp_path), "--yes"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert not file.exists()


def test_what_was_left_behind_excuses_nothing_but_thresholds(tmp_path: Path) -> None:
    """Not a unit of another pose model whose digest it names."""
    config = make_run(tmp_path, 6.0)
    paths = RunPaths(tmp_path)
    write_json(paths.redecided, {stage_digests(config)["filter"]: to_dict(config.filter.thresholds)})
    (tmp_path / "pose.task").write_bytes(b"other")
    edited = replace(config, filter=replace(config.filter, pose_model=str(tmp_path / "pose.task")))
    write_bytes(paths.config, to_yaml(edited).encode())
    with pytest.raises(ContractError, match="neither"):
        redecide(with_sharpness(edited, 9.0), apply=True)


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1}', '{"a": {"min_luma": 1}}'])
def test_a_damaged_note_of_a_stopped_redecide_names_the_way_out(tmp_path: Path, text: str) -> None:
    config = make_run(tmp_path / "a run", 6.0)
    RunPaths(tmp_path / "a run").redecided.write_text(text)
    with pytest.raises(ContractError, match=r"redecide\.json.*delete it; .*`passerby run '.*a run' --redo filter`"):
        redecide(with_sharpness(config, 9.0), apply=False)


def test_other_changes_and_foreign_units_are_refused(tmp_path: Path) -> None:
    config = make_run(tmp_path, 6.0)
    with pytest.raises(ConfigError, match=r"caption\.min_words differ .* filter\.thresholds only"):
        redecide(replace(with_sharpness(config, 9.0), caption=replace(config.caption, min_words=9)), apply=False)
    record = RunPaths(tmp_path).done("filter", 1)
    record.write_text(record.read_text().replace('"config_digest": "', '"config_digest": "x'))
    with pytest.raises(ContractError, match=r"neither .*config\.yaml nor the new one"):
        redecide(with_sharpness(config, 9.0), apply=False)


def test_a_run_that_has_not_filtered_is_refused(tmp_path: Path) -> None:
    config = GenerationConfig(run=RunConfig(folder=str(tmp_path)))
    with pytest.raises(ConfigError, match=r"holds no config\.yaml"):
        redecide(config, apply=False)
    write_bytes(tmp_path / "config.yaml", to_yaml(config).encode())
    with pytest.raises(ContractError, match="no unit of 'filter' is done"):
        redecide(config, apply=False)


def test_rows_keep_everything_else(tmp_path: Path) -> None:
    config = make_run(tmp_path, 9.0)
    before = read_rows(RunPaths(tmp_path).units("filter", 0, "parquet"))
    redecide(with_sharpness(config, 0.0), apply=True)
    after = read_rows(RunPaths(tmp_path).units("filter", 0, "parquet"))
    verdict = {"status": None, "reason": None}
    assert [row | verdict for row in before] == [row | verdict for row in after]
    assert [r["status"] for r in after] == ["kept"] * 5 + ["failed"] + ["kept"] * 2


def test_the_same_thresholds_remove_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, 6.0)
    write_bytes(tmp_path / "recrop" / "done" / "000000.json", b"{}")
    before = files(tmp_path)
    assert main(["redecide", str(tmp_path), "--yes"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert files(tmp_path) == before


def test_a_unit_of_yet_another_config_is_refused_before_anything_is_removed(tmp_path: Path) -> None:
    config = make_run(tmp_path, 6.0)
    write_bytes(tmp_path / "recrop" / "done" / "000000.json", b"{}")
    record = RunPaths(tmp_path).done("filter", 1)
    record.write_text(record.read_text().replace(stage_digests(config)["filter"], "0" * 16))
    before = files(tmp_path)
    with pytest.raises(ContractError, match="neither"):
        redecide(with_sharpness(config, 7.0), apply=True)
    assert files(tmp_path) == before


def test_the_recipe_of_a_run_may_stand_for_it_and_its_folder_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "it's a\\n run"
    make_run(Path("runs") / name, 6.0)
    recipe = GenerationConfig(
        run=RunConfig(name=name, unit_size=8),
        prompts=PromptsConfig(num_prompts=16),
        filter=FilterConfig(thresholds=Thresholds(min_laplacian_variance=9.0)),
    )
    Path("recipe.yaml").write_text(to_yaml(recipe))
    main(["redecide", "recipe.yaml"])
    assert "3  kept -> blurred_image" in capsys.readouterr().out
