"""How many prompts, images and units a run has: what every command and every task asks first.

Sentences of the sampler need no counting. Those of files are read and compared with each other only until somebody has done it for these
files and settings: the done record of `prompts` says it, before that RUN/.records/num_prompts.json, which may be deleted at any time.
"""

from contextlib import suppress

from generation.config import GenerationConfig
from generation.prompt_texts import count_prompts
from pipeline.completion import read_record
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.contracts.sample import make_key, parse_key
from pipeline.fileio import read_json, write_json
from pipeline.paths import RunPaths


def num_prompts(config: GenerationConfig, prompts_digest: str) -> int:
    """len(make_prompts(...)). prompts_digest: of the stage, which stands for the files' content and everything else that matters."""
    if config.prompts.kind == "sampler":
        return count_prompts(config.prompts)
    paths = RunPaths(config.run.path)
    record = read_record(paths, "prompts", 0)
    if record and record.config_digest == prompts_digest:
        return record.counts.seen
    with suppress(ContractError):
        kept = read_json(paths.num_prompts)
        if isinstance(kept, dict) and kept.get("digest") == prompts_digest:
            return int(kept["num_prompts"])
    count = count_prompts(config.prompts)
    if paths.config.exists():  # a look at a recipe begins no run
        with suppress(StageError):  # somebody else's run
            write_json(paths.num_prompts, {"digest": prompts_digest, "num_prompts": count})
    return count


def place_of(config: GenerationConfig, num_prompts: int, key: str) -> tuple[int, int]:
    """(unit, place in it) of an image. Raises ConfigError, saying what the run's keys look like, for one that it does not have."""
    try:
        index, variant = parse_key(key)
    except ContractError as err:
        raise ConfigError(f"{err}; {_keys(config, num_prompts)}") from err
    if index >= num_prompts or variant >= config.prompts.variants:
        raise ConfigError(f"{key} is not of this run; {_keys(config, num_prompts)}")
    return divmod(index * config.prompts.variants + variant, config.run.unit_size)


def _keys(config: GenerationConfig, num_prompts: int) -> str:
    last, units = make_key(num_prompts - 1, config.prompts.variants - 1), units_of_prompts(config, num_prompts)
    return f"its keys go from {make_key(0, 0)} to {last}: prompt and variant, in {units} units of {config.run.unit_size}"


def num_units(config: GenerationConfig, prompts_digest: str) -> int:
    """Of the stages from generate to annotate."""
    return units_of_prompts(config, num_prompts(config, prompts_digest))


def units_of_prompts(config: GenerationConfig, prompts: int) -> int:
    """Units that so many prompts come to."""
    return -(-prompts * config.prompts.variants // config.run.unit_size)
