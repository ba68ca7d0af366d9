"""The sentences of a run, in order: written by the sampler, or read from files. Apart from generation/prompts.py, so that `describe`, which
every look at a run begins with, can count them without what writes them.
"""

from dataclasses import replace
from pathlib import Path

from generation.config import PromptsConfig
from generation.prompt_files import PromptText, normalised, read_prompts, read_texts, unrepeated
from generation.sampler import sample_look
from generation.sentences import write_sentence
from pipeline.seeds import derive_seed

DEFAULT_SAMPLED = 1000


def make_prompts(config: PromptsConfig, seed: int) -> list[PromptText]:
    """All prompts of a run, in order. Raises ContractError for an unreadable, empty or wrongly encoded file."""
    if config.kind == "sampler":
        count = config.num_prompts or DEFAULT_SAMPLED
        looks = (sample_look(seed, i, config.target) for i in range(count))
        return [PromptText(write_sentence(look, derive_seed(seed, "prompts", i))) for i, look in enumerate(looks)]
    prompts = [_named(prompt, Path(file)) for file in config.files for prompt in read_prompts(Path(file), config.kind, config.splits)]
    return (unrepeated(prompts) if config.unrepeated else prompts)[: config.num_prompts]


def count_prompts(config: PromptsConfig) -> int:
    """len(make_prompts(...)), without writing the sampler's sentences, and without keeping those of files, which may be millions."""
    if config.kind == "sampler":
        return config.num_prompts or DEFAULT_SAMPLED
    if config.kind == "text" and config.unrepeated:
        from generation.distinct_prompts import count_distinct

        count = count_distinct([Path(file) for file in config.files])
        return min(count, config.num_prompts or count)
    texts = (text for file in config.files for text in read_texts(Path(file), config.kind, config.splits))
    count = len(set(map(normalised, texts))) if config.unrepeated else sum(1 for _ in texts)
    return min(count, config.num_prompts or count)


def _named(prompt: PromptText, file: Path) -> PromptText:
    return prompt if prompt.source else replace(prompt, source=file.name)
