"""The stages through `python -m generation`, one after the other, on tiny random models."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from generation.cli import main
from generation.config import GenerationConfig, PromptsConfig, RunConfig
from generation.digests import stage_digests
from generation.embedded.render.person import sample_person
from generation.embedded.render.scene import render_person
from generation.images import encode_png
from generation.prompts import image_items
from generation.stages import STAGES, UNIT_STAGES
from generation.work import make_stage, run_stage
from pipeline import graph
from pipeline.cli import passerby
from pipeline.completion import input_digest
from pipeline.config import load, to_yaml
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.stage import Item, Keep, Outcome
from pipeline.describe import GENERATION
from pipeline.inputs import UnitInput
from pipeline.manifests import read_manifest
from pipeline.paths import RunPaths
from pipeline.runner import run_units
from pipeline.tables import read_rows
from tests.unit.generation.failures import render_failure
from tests.unit.generation.tiny_diffusion import save_diffusion
from tests.unit.generation.tiny_models import save_blip
from tests.unit.pipeline.fake_flow import snapshot


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    path = folder / "recipe.yaml"
    path.write_text(
        f"""
run: {{folder: {folder / "run"}, unit_size: 4}}
prompts: {{num_prompts: 3, variants: 2}}
generate: {{model: {save_diffusion(folder / "sd")}, device: cpu, steps: 1, batch_size: 3}}
filter: {{num_workers: 0}}
caption: {{model: {save_blip(folder / "blip")}, device: cpu}}
""",
        encoding="utf-8",
    )
    return path


def call(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def stage(capsys: pytest.CaptureFixture[str], recipe: Path, name: str, *more: str) -> dict[str, Any]:
    code, out, err = call(capsys, name, "--config", str(recipe), *more)
    assert code == 0, err
    return json.loads(out)


def test_the_flow_runs_to_the_shards_and_says_why_nothing_is_left(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = RunPaths(load(GenerationConfig, recipe).run.path)
    assert stage(capsys, recipe, "prompts") == {"stage": "prompts", "units": 1, "seen": 3, "kept": 3, "dropped": 0, "failed": 0}
    assert stage(capsys, recipe, "generate", "--task", "1", "--num-tasks", "2")["seen"] == 2  # unit 1: images 4 and 5
    assert stage(capsys, recipe, "generate")["units"] == 1  # the other one; unit 1 is done
    rows = [row for unit in range(2) for row in read_rows(paths.units("generate", unit, "parquet"))]
    assert [row["key"] for row in rows] == [f"{p:09d}_{v:02d}" for p in range(3) for v in range(2)]
    assert len({row["seed"] for row in rows}) == 6
    for name in ("filter", "recrop", "caption", "annotate"):
        assert stage(capsys, recipe, name)["units"] == 2
    assert {row["status"] for row in read_rows(paths.ledger("filter", 0))} == {"dropped"}  # random weights draw nobody
    code, out, err = call(capsys, "shard", "--config", str(recipe))
    assert (code, out) == (1, "")
    assert "StageError: no sample is left for the shards: filter lost 6 of 6" in err


def test_fused_makes_the_files_of_the_stages_and_says_where_the_time_went(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    thresholds = "filter.thresholds={min_visible_keypoints: 0}"
    monkeypatch.setattr("generation.filter.decide", lambda measures, thresholds: None)  # random weights draw nobody: keep them all the same
    monkeypatch.setattr("generation.recrop.person_box", lambda *_, **__: (0, 0, 40, 80))
    monkeypatch.setattr("generation.recrop.box_points", lambda points: points)
    for name in ("one", "other"):
        folder = ("--set", f"run.folder={tmp_path / name}", "--set", thresholds, "--set", "caption.require_clothing=false")
        stage(capsys, recipe, "prompts", *folder)
        if name == "one":
            code, out, err = call(capsys, "fused", "--config", str(recipe), *folder)
            assert code == 0, err
            answer = json.loads(out)
        else:
            for verb in UNIT_STAGES:
                stage(capsys, recipe, verb, *folder)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "other")
    assert (answer["units"], answer["stages"]["generate"]["seen"], answer["stages"]["caption"]["seen"]) == (2, 6, 6)
    assert [times["stage"] for times in answer["times"]] == list(UNIT_STAGES)
    assert answer["times"][0]["busy"] > 0


def test_units_are_chosen_by_a_list_or_by_a_task(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ("--set", f"run.folder={tmp_path}")
    stage(capsys, recipe, "prompts", *folder)
    assert stage(capsys, recipe, "generate", *folder, "--units", "1")["seen"] == 2
    code, _, err = call(capsys, "generate", "--config", str(recipe), *folder, "--units", "0-2")
    assert (code, "accepted: 0 to 1" in err) == (2, True)
    code, _, err = call(capsys, "generate", "--config", str(recipe), *folder, "--units", "0", "--num-tasks", "2")
    assert (code, "accepted: one or the other" in err) == (2, True)


def test_a_stage_that_is_given_the_config_of_a_copied_run_works_on_the_copy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = GenerationConfig(run=RunConfig(name="mine"), prompts=PromptsConfig(num_prompts=3))
    run_stage("prompts", config)
    RunPaths(config.run.path).config.write_text(to_yaml(config))
    config.run.path.rename("copy")
    table = RunPaths(Path("copy")).units("prompts", 0, "parquet")
    table.unlink()
    assert stage(capsys, Path("copy/config.yaml"), "prompts")["seen"] == 3
    assert table.exists()
    assert not config.run.path.exists()


class Drawn:
    """Stands for the diffusion model: whole people, drawn, and one grey picture."""

    name, reads_images, writes_images, batch_size = "generate", False, True, 8

    def setup(self) -> None: ...
    def teardown(self) -> None: ...

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        return [self._one(int(item.key[:9])) for item in batch]

    def _one(self, index: int) -> Outcome:
        rng = np.random.default_rng(index)
        image = render_failure("gray", rng) if index == 2 else render_person(sample_person(rng), rng).image
        return Keep({"seed": index, "generator": {"model": "drawn"}}, encode_png(image))


def draw_people(recipe: Path, folder: Path) -> tuple[GenerationConfig, RunPaths]:
    """A run of six pictures in two units, up to generate."""
    open_gate = ["caption.min_words=1", "caption.max_loop_repeats=99", "caption.require_clothing=false"]
    config = load(GenerationConfig, recipe, [f"run.folder={folder}", "prompts.num_prompts=6", "prompts.variants=1", *open_gate])
    paths = RunPaths(folder)
    run_stage("prompts", config)
    items = read_rows(paths.units("prompts", 0, "parquet"))
    inputs = [UnitInput(image_items(items, unit, 4, 1), input_digest(paths, [("prompts", 0)])) for unit in range(2)]
    run_units(Drawn(), paths, range(2), config_digest=stage_digests(config)["generate"], inputs=lambda unit: inputs[unit])
    paths.config.write_text(to_yaml(config), encoding="utf-8")
    return config, paths


def test_people_come_through_to_shards_that_pass_lint(recipe: Path, tmp_path: Path) -> None:
    config, paths = draw_people(recipe, tmp_path)
    for name in ("filter", "recrop", "caption", "annotate", "shard"):
        records = run_stage(name, config)
    assert records[0].counts.kept == 5
    assert {row["reason"] for row in read_rows(paths.ledger("filter", 0))} == {None, "grayscale_image"}
    done = subprocess.run([sys.executable, "-m", "pipeline", "lint", str(tmp_path), "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_advised_where_the_pose_workers_died_makes_the_shards(
    recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, paths = draw_people(recipe, tmp_path / "my run")
    with monkeypatch.context() as patched:
        patched.setattr("generation.filter.decide", lambda measures, thresholds: "pose_worker_died")
        for name in UNIT_STAGES:
            run_stage(name, config)
    arguments = ["--config", str(paths.config)]
    code, _, err = call(capsys, "shard", *arguments)
    advised = re.search(r"filter again: `passerby (run .*)`$", err.strip())
    assert (code, advised is not None) == (1, True), err
    monkeypatch.setattr("pipeline.local.run_tasks", lambda tasks, tick: [main(task.argv[len(GENERATION) :]) for task in tasks])
    done = CliRunner().invoke(passerby, shlex.split(advised[1] if advised else ""))
    assert done.exit_code == 0, done.output
    assert read_manifest(paths.stage("shard")).counts.kept == 5


def test_an_input_that_is_not_there_is_refused(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("generate", "caption", "shard"):
        code, _, err = call(capsys, name, "--config", str(recipe), "--set", f"run.folder={tmp_path / 'new'}")
        assert code == 2, name
        assert "run that stage first" in err


def test_another_config_is_refused_with_the_way_out(recipe: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"run.folder={tmp_path}"
    assert call(capsys, "prompts", "--config", str(recipe), "--set", folder)[0] == 0
    code, _, err = call(capsys, "prompts", "--config", str(recipe), "--set", folder, "--set", "run.seed=9")
    assert code == 2
    assert "was made with another config" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("generate.model=/no/such/model", "no such folder"),
        ("generate.device=cdua", "generate.device='cdua'; accepted: auto, cpu"),
        ("prompts.kind=poem", "accepted: 'sampler', 'text', 'json'"),
        ("generate.guidence=1", "did you mean generate.guidance?"),
    ],
)
def test_refusals_name_the_field_and_exit_with_2(recipe: Path, capsys: pytest.CaptureFixture[str], change: str, message: str) -> None:
    code, out, err = call(capsys, "describe", "--config", str(recipe), "--set", change)
    assert (code, out) == (2, "")
    assert message in err


def test_no_such_task_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "annotate", "--config", str(recipe), "--task", "2", "--num-tasks", "2")
    assert code == 2
    assert "accepted: 0 to 1" in err


def test_describe_answers_what_orchestration_asks(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "describe", "--config", str(recipe))
    answer = json.loads(out)
    assert code == 0
    assert answer["run"]["num_units"] == 2
    assert [s["name"] for s in answer["stages"]] == [spec.name for spec in graph.STAGES]


def test_describe_and_help_load_no_heavy_package(recipe: Path) -> None:
    program = (
        "import sys; from generation.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'diffusers', 'transformers', 'mediapipe', 'cv2', 'pyarrow', 'webdataset'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    for arguments in (["--help"], ["describe", "--config", str(recipe)]):
        done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_check_images_and_annotate_text_answer_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.png").write_bytes(b"x")
    code, out, _ = call(capsys, "check-images", str(tmp_path), "--json", "--set", "filter.num_workers=0")
    assert code == 0
    assert json.loads(out) == {"file": "broken.png", "verdict": "drop", "reason": "corrupt_image", "measures": {}}
    (tmp_path / "captions.txt").write_text("a man in a red shirt\n")
    code, out, _ = call(capsys, "annotate-text", str(tmp_path / "captions.txt"))
    assert code == 0
    assert json.loads(out)["labels"]["upper_red"] == 0
    assert call(capsys, "check-images", str(tmp_path / "none"))[0] == 2
    assert call(capsys, "annotate-text", str(tmp_path / "none"))[0] == 2


def test_stage_objects_agree_with_the_graph(recipe: Path) -> None:
    config = load(GenerationConfig, recipe)
    assert set(STAGES) == {spec.name for spec in graph.STAGES}
    for name in UNIT_STAGES:
        spec, made = graph.find(name), make_stage(name, config)
        assert (made.name, made.writes_images, spec.kind) == (spec.name, spec.writes_images, "units")
        assert not made.reads_images or spec.images_from is not None
    assert all(graph.find(name).kind == "single" for name in STAGES if name not in UNIT_STAGES)


def test_a_config_error_is_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load(GenerationConfig, tmp_path / "none.yaml")
