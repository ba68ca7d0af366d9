"""One stage of one task: which units, from what, by which stage object. What `python -m generation STAGE` does, as a function."""

from collections.abc import Callable

from generation.config import GenerationConfig
from generation.digests import describe, stage_digests
from generation.prompts import image_items, read_prompt_rows, write_prompts
from pipeline.completion import input_digest, units_of_task
from pipeline.contracts.manifest import DoneRecord
from pipeline.contracts.stage import Row, Stage
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_single, run_units

SINGLE_STAGES = ("prompts", "shard")
_CHAIN = {  # stage: (rows from, pictures from)
    "filter": ("generate", "generate"),
    "recrop": ("filter", "generate"),
    "caption": ("recrop", "recrop"),
    "annotate": ("caption", None),
}
UNIT_STAGES = ("generate", *_CHAIN)


def run_stage(name: str, config: GenerationConfig, task: int = 0, num_tasks: int = 1) -> list[DoneRecord]:
    """Do what is left of this task's units of a stage (of the whole stage if it is a single one); the records of what is done now.

    Raises ConfigError, ContractError, StageError as the stage and its inputs do.
    """
    paths = RunPaths(config.run.path)
    digest = stage_digests(config)[name]
    num_units = int(describe(config)["run"]["num_units"])
    units = units_of_task(1 if name in SINGLE_STAGES else num_units, task, num_tasks)
    if name in SINGLE_STAGES:
        return [_run_single(name, config, paths, digest, num_units)] if len(units) else []
    stage = make_stage(name, config)
    inputs = _generate_input(config, paths) if name == "generate" else chained_input(paths, *_CHAIN[name], stage.reads_images)
    return run_units(stage, paths, list(units), config_digest=digest, inputs=inputs)


def make_stage(name: str, config: GenerationConfig) -> Stage:
    """The stage object; imports only what this stage needs."""
    if name == "generate":
        from generation.generate import GenerateStage

        return GenerateStage(config.generate, config.run.seed)
    if name == "filter":
        from generation.filter import FilterStage

        return FilterStage(config.filter)
    if name == "recrop":
        from generation.recrop import RecropStage

        return RecropStage(config.recrop)
    if name == "caption":
        from generation.caption import CaptionStage

        return CaptionStage(config.caption)
    from generation.annotate import AnnotateStage

    return AnnotateStage(config.annotate)


def _run_single(name: str, config: GenerationConfig, paths: RunPaths, digest: str, num_units: int) -> DoneRecord:
    if name == "prompts":
        return run_single(
            name, paths, config_digest=digest, input_digest=input_digest(paths, []), make=lambda: write_prompts(config, paths)
        )
    from generation.shard import write_shards

    sources = [(stage, unit) for unit in range(num_units) for stage in ("annotate", "recrop")]
    return run_single(
        name,
        paths,
        config_digest=digest,
        input_digest=input_digest(paths, sources),
        make=lambda: write_shards(config, paths, num_units, digest),
    )


def _generate_input(config: GenerationConfig, paths: RunPaths) -> Callable[[int], UnitInput]:
    """Items from the prompt table, which is read once for all units of the task."""
    digest = input_digest(paths, [("prompts", 0)])
    table: list[Row] = []

    def unit_input(unit: int) -> UnitInput:
        if not table:
            table.extend(read_prompt_rows(paths))
        return UnitInput(image_items(table, unit, config.run.unit_size, config.prompts.variants), digest)

    return unit_input
