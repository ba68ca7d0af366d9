"""`check-leak`: the prompts of a recipe, a run, or a file against test captions, without starting anything."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from generation.config import KIND_OF_SUFFIX, PromptsConfig
from generation.leak import Leak, find_leaks, summary
from generation.prompt_files import PromptText
from generation.prompt_texts import make_prompts
from generation.prompts import with_provenance
from generation.recipes import load_recipe
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_bytes


def load_prompts(source: Path, overrides: Sequence[str]) -> tuple[PromptsConfig, list[PromptText]]:
    """Prompts, with source and licence, of a recipe (.yaml), a run folder, or a prompt file; and the config that says how to compare."""
    if source.is_dir() or source.suffix in (".yaml", ".yml"):
        config = load_recipe(source, overrides)
        return config.prompts, list(with_provenance(config.prompts, make_prompts(config.prompts, config.run.seed)))
    if overrides:
        raise ConfigError(f"--set {overrides[0]!r} with the prompt file {source}; accepted with a recipe or a run folder only")
    if source.suffix not in KIND_OF_SUFFIX:
        raise ConfigError(f"{source}: unknown kind of file; accepted: a recipe (.yaml), a run folder, {', '.join(KIND_OF_SUFFIX)}")
    prompts = PromptsConfig(kind="auto", file=str(source))
    return prompts, list(with_provenance(prompts, make_prompts(prompts, 0)))


def check(prompts: Sequence[PromptText], against: Sequence[str], min_similarity: float) -> dict[str, Any]:
    """{"prompts", "against", "min_similarity", "leaks": [...]}; raises ConfigError if there is nothing to compare with."""
    if not against:
        raise ConfigError("no test captions to compare with; give --against FILE, or prompts.check_against in the recipe")
    leaks = find_leaks([prompt.text for prompt in prompts], against, min_similarity)
    return {"prompts": len(prompts), "against": list(against), "min_similarity": min_similarity, "leaks": [asdict(leak) for leak in leaks]}


def refuse_overwriting(clean: Path | None, read: Sequence[Path]) -> None:
    """Raises ConfigError if the clean prompts would take the place of a file that they are made from."""
    if clean is not None and clean.exists() and any(path.exists() and clean.samefile(path) for path in read):
        raise ConfigError(f"--clean {clean} is one of the files that are read; accepted: another name")


def write_clean(path: Path, prompts: Sequence[PromptText], answer: dict[str, Any]) -> int:
    """The prompts without a leak as JSON Lines for prompts.kind=table, source and licence kept; returns how many."""
    leaked = {leak["index"] for leak in answer["leaks"]}
    rows = [asdict(prompt) for i, prompt in enumerate(prompts) if i not in leaked]
    lines = [json.dumps({"prompt": row.pop("text"), **{k: v for k, v in row.items() if v}}, ensure_ascii=False) for row in rows]
    write_bytes(path, "".join(line + "\n" for line in lines).encode())
    return len(lines)


def to_lines(answer: dict[str, Any]) -> list[str]:
    """The answer for people: a line a leak, and a sum."""
    leaks = [Leak(**leak) for leak in answer["leaks"]]
    lines = [
        f"{leak.kind:10} {leak.similarity:.2f}  prompt {leak.index}: {leak.prompt!r}\n{'':17}{leak.file}: {leak.caption!r}"
        for leak in leaks
    ]
    verdict = f"{len(leaks)} leaks ({summary(leaks)})" if leaks else "no leak"
    return [*lines, f"{answer['prompts']} prompts against {len(answer['against'])} files: {verdict}"]
