"""One picture again from its key: the same bytes in the same batch, a stated difference otherwise."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from generation.cli import main
from generation.config import GenerateConfig, GenerationConfig, PromptsConfig, RunConfig
from generation.regenerate import batch_of
from generation.work import run_stage
from pipeline.config import to_yaml
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_bytes
from pipeline.paths import RunPaths
from pipeline.tables import read_rows, write_rows
from pipeline.tars import read_tar
from tests.unit.generation.tiny_diffusion import save_diffusion

KEY = "000000002_01"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> GenerationConfig:
    folder = tmp_path_factory.mktemp("run")
    config = GenerationConfig(
        run=RunConfig(folder=str(folder / "run"), unit_size=5),
        prompts=PromptsConfig(num_prompts=4, variants=2),
        generate=GenerateConfig(model=str(save_diffusion(folder / "sd")), device="cpu", steps=1, batch_size=2),
    )
    for stage in ("prompts", "generate"):
        run_stage(stage, config)
    write_bytes(RunPaths(config.run.path).config, to_yaml(config).encode())
    return config


def call(run: GenerationConfig, capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["regenerate", str(run.run.path), *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_batch_of_a_key_is_the_one_it_was_made_in(run: GenerationConfig) -> None:
    paths = RunPaths(run.run.path)
    assert [(i.key, u) for i, u in ((item, batch_of(run, paths, KEY)[1]) for item in batch_of(run, paths, KEY)[0])] == [
        (KEY, 1),
        ("000000003_00", 1),
    ]
    assert [item.key for item in batch_of(run, paths, "000000002_00")[0]] == ["000000002_00"]  # the last of unit 0, alone


def test_same_bytes_in_the_same_batch(run: GenerationConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "again.png"
    report = call(run, capsys, KEY, "--out", str(out))
    assert (report["identical"], report["max_difference"], report["differing"]) == (True, 0, {})
    stored = {m.name: m.data for m in read_tar(RunPaths(run.run.path).units("generate", 1, "tar"))}
    assert out.read_bytes() == stored[f"{KEY}.png"]


@pytest.mark.parametrize(("given", "used"), [(None, "1"), ("3", "3")])
def test_the_picture_is_drawn_with_as_many_threads_as_workers_have(
    run: GenerationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str | None, used: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    seen = []

    def draw(*_: object) -> tuple[bytes, dict[str, object]]:
        seen.append(os.environ["OMP_NUM_THREADS"])
        return b"", {"key": KEY}

    monkeypatch.setattr("generation.regenerate.regenerate", draw)
    assert main(["regenerate", str(run.run.path), KEY, "--out", str(tmp_path / "again.png"), "--json"]) == 0
    assert seen == [used]


def test_the_batch_stays_the_one_of_the_run_when_its_config_says_another_now(
    run: GenerationConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`passerby run --set generate.batch_size=N` on a finished run writes config.yaml and leaves the pictures."""
    config = RunPaths(run.run.path).config
    text = config.read_text()
    try:
        config.write_text(to_yaml(replace(run, generate=replace(run.generate, batch_size=5))))
        report = call(run, capsys, KEY, "--out", str(tmp_path / "x.png"))
        assert (report["batch"], report["identical"], report["differing"]) == ({"place": 0, "count": 2, "size": 2}, True, {})
        alone = call(run, capsys, KEY, "--alone", "--out", str(tmp_path / "x.png"))
        assert alone["differing"] == {"batch": [report["batch"], {"place": 0, "count": 1, "size": 1}]}
    finally:
        config.write_text(text)


def test_the_batch_of_a_run_that_does_not_say_it_is_that_of_its_config(run: GenerationConfig) -> None:
    table = RunPaths(run.run.path).units("generate", 1, "parquet")
    stored = table.read_bytes()
    try:
        write_rows(table, [{name: value for name, value in row.items() if name != "batch"} for row in read_rows(table)])
        assert [item.key for item in batch_of(run, RunPaths(run.run.path), KEY)[0]] == [KEY, "000000003_00"]
    finally:
        table.write_bytes(stored)


def test_alone_it_is_made_too_and_compared(run: GenerationConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = call(run, capsys, KEY, "--alone", "--out", str(tmp_path / "x.png"))
    assert isinstance(report["max_difference"], int)
    assert report["max_difference"] <= 1


def test_another_model_is_named(run: GenerationConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = RunPaths(run.run.path)
    text = paths.config.read_text()
    try:
        paths.config.write_text(text.replace(run.generate.model, str(save_diffusion(tmp_path / "other", seed=1))))
        report = call(run, capsys, KEY, "--out", str(tmp_path / "x.png"))
        assert report["identical"] is False
        assert {"model", "weights_sha256"} <= set(report["differing"])  # type: ignore[call-overload]
        assert main(["regenerate", str(run.run.path), KEY, "--out", str(tmp_path / "x.png")]) == 0
        assert "differs from the stored picture by at most" in capsys.readouterr().out
    finally:
        paths.config.write_text(text)


@pytest.mark.parametrize("key", ["000000009_00", "000000001_05", "nonsense"])
def test_keys_of_no_image_are_refused(run: GenerationConfig, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        batch_of(run, RunPaths(run.run.path), key)
