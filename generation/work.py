"""One stage of one task, or all at once: which units, from what, by which stage object. `python -m generation STAGE|fused` as functions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from generation.config import GenerationConfig
from generation.digests import check_digest, stage_digests
from generation.prompts import check_prompts, image_items, read_prompt_rows, write_prompts
from generation.run_size import num_units
from generation.stages import UNIT_STAGES
from pipeline.completion import input_digest, mark_checked, units_of_task
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.contracts.stage import Row, Stage
from pipeline.fused import FusedReport, Link, run_fused
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_single, run_units
from pipeline.unit_list import parse_units

_CHAIN = {  # stage: (rows from, pictures from)
    "filter": ("generate", "generate"),
    "recrop": ("filter", "generate"),
    "caption": ("recrop", "recrop"),
    "annotate": ("caption", None),
}


@dataclass(frozen=True, slots=True)
class Part:
    """Which units a command makes: those of a list (3,7,10-20), or else those with unit % num_tasks == task."""

    task: int = 0
    num_tasks: int = 1
    units: str | None = None

    def of(self, num_units: int) -> list[int]:
        """Raises ConfigError for what is not in the run."""
        if self.units is not None:
            return parse_units(self.units, num_units)
        return list(units_of_task(num_units, self.task, self.num_tasks))


def run_stage(name: str, config: GenerationConfig, part: Part = Part()) -> list[DoneRecord]:
    """Do what is left of this part's units of a stage (of the whole stage if it is a single one); the records of what is done now.

    Raises ConfigError, ContractError, StageError as the stage and its inputs do.
    """
    paths = RunPaths(config.run.path)
    digests = stage_digests(config)
    if name not in UNIT_STAGES:
        return [_run_single(name, config, paths, digests)] if part.of(1) else []
    units = part.of(num_units(config, digests["prompts"]))
    link = _link(name, config, paths, digests[name])
    return run_units(link.stage, paths, units, config_digest=digests[name], inputs=link.inputs)


def run_all_stages(config: GenerationConfig, part: Part = Part()) -> FusedReport:
    """What is left of this part's units in all unit stages, side by side in this process. Files, errors: those of run_stage."""
    paths, digests = RunPaths(config.run.path), stage_digests(config)
    links = [_link(name, config, paths, digests[name], fill_cores=True) for name in UNIT_STAGES]
    return run_fused(links, paths, part.of(num_units(config, digests["prompts"])))


def _link(name: str, config: GenerationConfig, paths: RunPaths, digest: str, fill_cores: bool = False) -> Link:
    stage = make_stage(name, config, fill_cores)
    inputs = _generate_input(config, paths) if name == "generate" else chained_input(paths, *_CHAIN[name], stage.reads_images)
    return Link(stage, digest, inputs)


def make_stage(name: str, config: GenerationConfig, fill_cores: bool = False) -> Stage:
    """The stage object; imports only what this stage needs. fill_cores: it has the task's cores for itself."""
    if name == "generate":
        from generation.generate import GenerateStage

        return GenerateStage(config.generate, config.run.seed, fill_cores=fill_cores)
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


def _run_single(name: str, config: GenerationConfig, paths: RunPaths, digests: dict[str, str]) -> DoneRecord:
    if name == "prompts":
        return _run_prompts(config, paths, digests[name])
    from generation.shard import write_shards

    units = num_units(config, digests["prompts"])
    sources = [(stage, unit) for unit in range(units) for stage in ("annotate", "recrop")]
    return run_single(
        name,
        paths,
        config_digest=digests[name],
        input_digest=input_digest(paths, sources),
        make=lambda: write_shards(config, paths, units, digests[name]),
    )


def _run_prompts(config: GenerationConfig, paths: RunPaths, digest: str) -> DoneRecord:
    check = check_digest(config.prompts, digest)

    def make() -> tuple[Counts, list[Path]]:
        made = write_prompts(config, paths)
        mark_checked(paths, "prompts", check)
        return made

    record = run_single("prompts", paths, config_digest=digest, input_digest=input_digest(paths, []), make=make)
    check_prompts(config, paths, check)
    return record


def _generate_input(config: GenerationConfig, paths: RunPaths) -> Callable[[int], UnitInput]:
    """Items from the prompt table, which is read once for all units of the task."""
    digest = input_digest(paths, [("prompts", 0)])
    table: Sequence[Row] = ()

    def unit_input(unit: int) -> UnitInput:
        nonlocal table
        table = table or read_prompt_rows(paths)
        return UnitInput(image_items(table, unit, config.run.unit_size, config.prompts.variants), digest)

    return unit_input
