"""Prompts that stand in a test set are found, and stop the run."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from generation.cli import main
from generation.config import GenerationConfig, PromptsConfig, RunConfig
from generation.leak import LeakIndex, jaccard, read_test_captions, word_pairs
from generation.prompts import prompt_rows, write_prompts
from generation.work import run_stage
from pipeline.config import to_yaml
from pipeline.contracts.errors import ContractError
from pipeline.describe import describe
from pipeline.paths import RunPaths
from pipeline.survey import survey

SECRET = "The man is wearing a black jacket over a white shirt, blue jeans and brown shoes, and he carries a grey backpack on one shoulder."
OTHER = "A woman with long dark hair is walking in a short red dress with white sandals while she is holding a small yellow handbag."
RECORDS = [
    {"split": "train", "captions": ["A boy in a green shirt."], "file_path": "a.jpg", "id": 1},
    {"split": "test", "captions": [SECRET], "file_path": "b.jpg", "id": 2},
    {"split": "val", "captions": [OTHER], "file_path": "c.jpg", "id": 3},
]


@pytest.fixture
def captions(tmp_path: Path) -> Path:
    path = tmp_path / "reid_raw.json"
    path.write_text(json.dumps(RECORDS))
    return path


def test_a_raw_list_is_compared_by_its_val_and_test_captions(captions: Path) -> None:
    assert read_test_captions(captions) == [SECRET, OTHER]


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        (SECRET, "exact"),
        (SECRET.upper().replace(",", " ;"), "normalised"),
        (SECRET.replace("brown shoes", "black shoes"), "near"),
        (SECRET.replace("The man is", "A young man is").replace("one shoulder", "his shoulder"), "near"),
        (
            SECRET.upper() + " He has short black hair, walks along the pavement and looks at a phone in his left hand.",
            "contained",
        ),
        (
            f"A full body photograph, taken from the side of a street on a day with rain and a few clouds. {SECRET} High quality.",
            "contained",
        ),
        (" ".join(SECRET.split()[:9]) + " bag, and walks along the pavement, and looks at a phone.", None),
        ("A boy in a green shirt.", None),
        ("The man is wearing a blue jacket, black trousers and white shoes.", None),
        ("", None),
    ],
)
def test_kinds_of_leaks(captions: Path, prompt: str, kind: str | None) -> None:
    found = list(LeakIndex({"f": read_test_captions(captions)}, 0.7).find(["an old lady", prompt]))
    assert [(leak.index, leak.kind, leak.caption, leak.file) for leak in found] == ([(1, kind, SECRET, "f")] if kind else [])


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.95, 1.0])
def test_near_pairs_are_found_as_plain_comparison_finds_them(similarity: float) -> None:
    """MinHash against the slow way: captions of 6 to 45 words of which some were replaced, most of them close to the threshold."""
    rng = random.Random(0)
    captions = [" ".join(f"w{rng.randrange(60)}" for _ in range(rng.randint(6, 45))) for _ in range(300)]
    prompts = []
    for words in (caption.split() for caption in captions):
        for place in rng.sample(range(len(words)), rng.randint(0, len(words) // 4)):
            words[place] = f"x{rng.randrange(60)}"
        prompts.append(" ".join(words))
    found = {leak.index for leak in LeakIndex({"f": captions}, similarity).find(prompts)}
    own, others = [word_pairs(text) for text in prompts], [word_pairs(text) for text in captions]
    slow = {i for i, pairs in enumerate(own) if max(jaccard(pairs, other) for other in others) >= similarity}
    assert found == slow
    assert 20 < len(slow) < 300


def test_one_word_of_fourteen_is_near() -> None:
    prompt = "A tall boy walks along the street with a green cap and grey shorts."
    (leak,) = LeakIndex({"f": [prompt.replace("grey", "gray")]}, 0.7).find([prompt])
    assert (leak.kind, leak.similarity) == ("near", 0.7647)


def config(folder: Path, captions: Path, *lines: str) -> GenerationConfig:
    (folder / "prompts.txt").write_text("\n".join(lines))
    prompts = PromptsConfig(kind="text", file=str(folder / "prompts.txt"), check_against=(str(captions),))
    return GenerationConfig(run=RunConfig(folder=str(folder / "run")), prompts=prompts)


def test_a_run_refuses_to_start_on_a_leak(tmp_path: Path, captions: Path) -> None:
    leaking, paths = config(tmp_path, captions, "a man", SECRET), RunPaths(tmp_path / "run")
    with pytest.raises(ContractError, match=r"1 of 2 prompts stand in test captions \(1 exact\), first: prompt 1"):
        write_prompts(leaking, paths)
    assert not paths.units("prompts", 0, "parquet").exists()


def test_a_run_starts_without_a_leak_and_when_told_so(tmp_path: Path, captions: Path, caplog: pytest.LogCaptureFixture) -> None:
    clean = config(tmp_path, captions, "a man", "a woman")
    assert write_prompts(clean, RunPaths(tmp_path / "run"))[0].kept == 2
    leaking = config(tmp_path, captions, SECRET)
    told = replace(leaking, prompts=replace(leaking.prompts, allow_leak=True))
    assert write_prompts(told, RunPaths(tmp_path / "run"))[0].kept == 1
    assert "1 of 1 prompts stand in test captions" in caplog.text


def later(config: GenerationConfig, **changes: Any) -> GenerationConfig:
    return replace(config, prompts=replace(config.prompts, **changes))


def test_a_check_that_is_asked_for_later_looks_at_the_table_that_is_there(tmp_path: Path, captions: Path) -> None:
    leaking = config(tmp_path, captions, "a man", SECRET)
    run_stage("prompts", later(leaking, check_against=()))
    with pytest.raises(ContractError, match=r"1 of 2 prompts stand in test captions \(1 exact\), first: prompt 1"):
        run_stage("prompts", leaking)
    assert run_stage("prompts", later(leaking, allow_leak=True))[0].counts.kept == 2
    with pytest.raises(ContractError, match="1 of 2 prompts"):
        run_stage("prompts", leaking)


@pytest.mark.parametrize("check_first", [False, True])
def test_a_table_is_checked_once_for_the_same_captions_and_similarity(
    tmp_path: Path, captions: Path, monkeypatch: pytest.MonkeyPatch, check_first: bool
) -> None:
    clean = config(tmp_path, captions, "a man", "a woman")
    run_stage("prompts", clean if check_first else later(clean, check_against=()))
    run_stage("prompts", clean)
    asked: list[float] = []
    monkeypatch.setattr("generation.leak.find_leaks", lambda prompts, files, similarity: asked.append(similarity) or [])
    run_stage("prompts", clean)
    run_stage("prompts", later(clean, check_against=()))
    assert asked == []
    run_stage("prompts", later(clean, max_similarity=0.5))
    captions.write_text(json.dumps(RECORDS[:2]))
    run_stage("prompts", clean)
    assert asked == [0.5, 0.7]


def test_run_and_submit_have_the_prompts_checked_before_they_go_on(tmp_path: Path, captions: Path) -> None:
    """They send the stages that survey calls unfinished; what comes after the prompts stays done."""
    clean = config(tmp_path, captions, "a man", "a woman")
    run_stage("prompts", later(clean, check_against=()))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(to_yaml(clean), encoding="utf-8")

    def missing(*overrides: str) -> list[int]:
        return survey(describe(recipe, overrides))[0].missing

    assert missing("prompts.check_against=[]") == []
    assert missing() == [0]
    run_stage("prompts", clean)
    assert missing() == []
    assert missing("prompts.max_similarity=0.5") == [0]


def test_the_command_lists_leaks_and_writes_a_clean_file(tmp_path: Path, captions: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"prompt": SECRET}, {"prompt": "a man", "licence": "MIT"}]
    (tmp_path / "p.jsonl").write_text("\n".join(map(json.dumps, rows)))
    arguments = ["check-leak", str(tmp_path / "p.jsonl"), "--against", str(captions), "--clean", str(tmp_path / "clean.jsonl")]
    assert main([*arguments, "--json"]) == 1
    printed = capsys.readouterr()
    assert f"prompts.kind=table with prompts.file={tmp_path / 'clean.jsonl'}" in printed.err
    answer = json.loads(printed.out)
    assert [(leak["index"], leak["kind"]) for leak in answer["leaks"]] == [(0, "exact")]
    assert main(["check-leak", str(tmp_path / "clean.jsonl"), "--against", str(captions)]) == 0
    assert "1 prompts against 1 files: no leak" in capsys.readouterr().out
    assert json.loads((tmp_path / "clean.jsonl").read_text()) == {"prompt": "a man", "source": "p.jsonl", "licence": "MIT"}
    assert main(["check-leak", str(tmp_path / "p.jsonl")]) == 2
    assert "give --against FILE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ({"num_prompts": 2}, {"source": "sampler", "licence": "CC0-1.0"}),
        ({"kind": "text", "file": "p.txt", "licence": "MIT", "source": "me"}, {"source": "me", "licence": "MIT"}),
        ({"kind": "text", "file": "p.txt"}, {"source": "p.txt", "licence": "unknown"}),
    ],
)
def test_a_clean_file_says_of_its_prompts_what_the_recipe_says(
    tmp_path: Path, captions: Path, monkeypatch: pytest.MonkeyPatch, prompts: dict[str, Any], said: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("p.txt").write_text("a man\na woman\n")
    Path("recipe.yaml").write_text(json.dumps({"prompts": prompts}))
    assert main(["check-leak", "recipe.yaml", "--against", str(captions), "--clean", "clean.jsonl"]) == 0
    before = prompt_rows(PromptsConfig(**prompts), 0)
    after = prompt_rows(PromptsConfig(kind="table", file="clean.jsonl"), 0)
    assert after == before
    assert [{name: row[name] for name in said} for row in after] == [said] * 2


def test_checking_does_not_change_what_is_made(tmp_path: Path, captions: Path) -> None:
    from generation.digests import stage_digests

    checked = config(tmp_path, captions, "a man")
    unchecked = replace(checked, prompts=replace(checked.prompts, check_against=()))
    assert stage_digests(checked) == stage_digests(unchecked)


def test_a_similarity_of_one_asks_for_the_same_pairs_of_words() -> None:
    index = LeakIndex({"f": [SECRET]}, 1.0)
    assert [leak.kind for leak in index.find([SECRET.replace("jacket", "coat"), SECRET.lower()])] == ["normalised"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--min-similarity", "nan"), "nan is no finite number"),
        (("--clean", "reid_raw.json"), "--clean reid_raw.json is one of the files that are read"),
        (("--set", "prompts.num_prompts=3"), "accepted with a recipe or a run folder only"),
    ],
)
def test_what_check_leak_would_ignore_or_destroy_is_refused(
    captions: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(captions.parent)
    assert main(["check-leak", str(captions), "--against", str(captions), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert json.loads(captions.read_text()) == RECORDS
