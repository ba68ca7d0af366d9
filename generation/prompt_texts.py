"""The sentences of a run, in order: written by the sampler, or read from files. Apart from generation/prompts.py, so that `describe`, which
every look at a run begins with, can count them without what writes them.
"""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from generation.config import PromptsConfig
from generation.prompt_files import PromptText, normalised, read_prompts, read_texts, unrepeated
from generation.sentences import write_sentence
from generation.target_sampler import sample_looks
from pipeline.seeds import derive_seed

DEFAULT_SAMPLED = 1000


class Reading(NamedTuple):
    """How the texts of files became prompts."""

    texts: int  # in the files
    of_other_splits: int  # left out, as are the next two
    repeats: int
    beyond_num_prompts: int
    prompts: int

    def __str__(self) -> str:
        return (
            f"{self.texts} texts: {self.of_other_splits} of other splits, {self.repeats} repeats and {self.beyond_num_prompts} beyond "
            f"prompts.num_prompts left out; {self.prompts} prompts"
        )


def make_prompts(config: PromptsConfig, seed: int) -> list[PromptText]:
    """All prompts of a run, in order. Raises ContractError for an unreadable, empty or wrongly encoded file."""
    return make_counted(config, seed)[0]


def make_counted(config: PromptsConfig, seed: int) -> tuple[list[PromptText], Reading | None]:
    """make_prompts, and what was left out of the files. None: there are no files."""
    if config.kind == "sampler":
        count = config.num_prompts or DEFAULT_SAMPLED
        looks = islice(sample_looks(seed, config.target), count)
        return [PromptText(write_sentence(look, derive_seed(seed, "prompts", i))) for i, look in enumerate(looks)], None
    found = [(path, read_prompts(path, kind, config.splits)) for path, kind in config.kinds_of_files]
    named = [_named(prompt, path) for path, file in found for prompt in file.prompts]
    different = unrepeated(named) if config.unrepeated else named
    prompts = different[: config.num_prompts]
    of_other_splits = sum(file.num_of_other_splits for _, file in found)
    repeats, beyond = len(named) - len(different), len(different) - len(prompts)
    return prompts, Reading(len(named) + of_other_splits, of_other_splits, repeats, beyond, len(prompts))


def count_prompts(config: PromptsConfig) -> int:
    """len(make_prompts(...)), without writing the sampler's sentences, and without keeping those of files, which may be millions."""
    if config.kind == "sampler":
        return config.num_prompts or DEFAULT_SAMPLED
    if config.unrepeated and all(kind == "text" for _, kind in config.kinds_of_files):
        from generation.distinct_prompts import count_distinct

        count = count_distinct([path for path, _ in config.kinds_of_files])
        return min(count, config.num_prompts or count)
    texts = (text for path, kind in config.kinds_of_files for text in read_texts(path, kind, config.splits))
    count = len(set(map(normalised, texts))) if config.unrepeated else sum(1 for _ in texts)
    return min(count, config.num_prompts or count)


def _named(prompt: PromptText, file: Path) -> PromptText:
    return prompt if prompt.source else replace(prompt, source=file.name)
