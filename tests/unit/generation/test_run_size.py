"""How many prompts a run has, without reading millions of them for every look at it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation.config import GenerationConfig, PromptsConfig, RunConfig
from generation.digests import describe
from generation.prompt_texts import count_prompts, make_prompts
from generation.work import run_stage
from pipeline.contracts.errors import ContractError
from pipeline.paths import RunPaths


@pytest.fixture
def config(tmp_path: Path) -> GenerationConfig:
    (tmp_path / "p.txt").write_bytes("\ufeffA man.\r\n\nA woman!\na  MAN\nДве, две.\nдве две\n".encode())
    return GenerationConfig(
        run=RunConfig(folder=str(tmp_path / "run"), unit_size=2),
        prompts=PromptsConfig(kind="text", file=str(tmp_path / "p.txt"), variants=2),
    )


@pytest.mark.parametrize("fields", [{}, {"unrepeated": False}, {"num_prompts": 2}, {"num_prompts": 9}])
@pytest.mark.parametrize("kind", ["text", "table"])
def test_counting_is_making_without_keeping(config: GenerationConfig, tmp_path: Path, kind: str, fields: dict[str, Any]) -> None:
    if kind == "table":
        (tmp_path / "p.jsonl").write_text('{"text": "A man."}\n{"text": "a man"}\n\n{"text": "A boy", "source": "x"}\n', encoding="utf-8")
    prompts = replace(config.prompts, kind=kind, file=str(tmp_path / f"p.{'txt' if kind == 'text' else 'jsonl'}"), **fields)
    assert count_prompts(prompts) == len(make_prompts(prompts, 0)) > 1


def numbers(config: GenerationConfig) -> tuple[int, int, int]:
    run = describe(config)["run"]
    return run["num_prompts"], run["num_images"], run["num_units"]


def nobody_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: PromptsConfig) -> int:
        raise AssertionError("the prompts are counted again")

    monkeypatch.setattr("generation.run_size.count_prompts", refuse)


def test_the_done_record_says_it(config: GenerationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert numbers(config) == (3, 6, 3)
    nobody_counts(monkeypatch)
    run_stage("prompts", config)
    assert numbers(config) == (3, 6, 3)
    with pytest.raises(AssertionError, match="counted again"):
        describe(replace(config, prompts=replace(config.prompts, unrepeated=False)))


def test_before_that_it_is_kept_in_the_folder_of_a_started_run(config: GenerationConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = RunPaths(config.run.path)
    assert numbers(config) == (3, 6, 3)
    assert not paths.root.exists()  # a look at a recipe begins no run
    paths.root.mkdir()
    paths.config.touch()
    assert numbers(config) == (3, 6, 3)
    with monkeypatch.context() as context:
        nobody_counts(context)
        assert numbers(config) == (3, 6, 3)
    Path(config.prompts.files[0]).write_text("A man.\nA boy.\n", encoding="utf-8")
    assert numbers(config) == (2, 4, 2)
    paths.num_prompts.write_text("[]")
    assert numbers(config) == (2, 4, 2)


def test_bad_files_are_refused_when_they_are_counted(config: GenerationConfig) -> None:
    Path(config.prompts.files[0]).write_bytes(b"A man.\nA w\xf6man.\n")
    with pytest.raises(ContractError, match=r"line 2, byte 4: 0xf6 is not UTF-8"):
        describe(config)
