"""`passerby run`: what is missing of a run, made on this machine, stage by stage, with a pool of worker processes."""

import shutil
from collections.abc import Callable

from pipeline import graph
from pipeline.config import dump_yaml
from pipeline.contracts.errors import StageError
from pipeline.describe import RunPlan
from pipeline.fileio import remove_temporaries, write_bytes
from pipeline.lock import run_lock
from pipeline.paths import RunPaths
from pipeline.progress import StageProgress
from pipeline.survey import StageSurvey, refuse_any_foreign, survey, survey_stage
from pipeline.workers import plan_tasks, run_tasks

Say = Callable[[str], None]


def run(plan: RunPlan, *, workers: int | None = None, redo: str | None = None, fresh: bool = False, say: Say = print) -> list[StageSurvey]:
    """Make everything of the run that is not there; returns the state of all stages at the end. A whole run is left as it is, quickly.

    Args:
        workers: processes a stage; None takes one a GPU or a core.
        redo: a stage whose outputs, and all later ones, are removed first. fresh: all stages.
        say: gets the progress lines.

    Raises: ConfigError if another process works on the run; ContractError, before any work, on records of another config; StageError or
    ConfigError with the end of its log if a worker fails.
    """
    if redo:
        graph.find(redo)
    with run_lock(plan.paths):
        if fresh or redo:
            for line in remove_outputs(plan.paths, graph.STAGES[0].name if fresh or redo is None else redo):
                say(line)
        stages = survey(plan)
        refuse_any_foreign(plan, stages)
        write_config(plan)
        changed = False
        for index, stage in enumerate(stages):
            current = survey_stage(plan, stage.spec) if changed else stage
            if current.missing:
                current, changed = _make(plan, current, workers, say), True
            stages[index] = current
    return stages


def remove_outputs(paths: RunPaths, first: str) -> list[str]:
    """Remove the outputs of stage `first` and of all later ones; returns what was removed, one line each.

    Records go first: a process killed in the middle leaves units that count as missing, never a record without its files.
    """
    lines = []
    for spec in reversed(graph.from_stage(first)):
        folder = paths.stage(spec.name)
        if not folder.is_dir():
            continue
        num_units = len(paths.done_units(spec.name))
        shutil.rmtree(folder / "done", ignore_errors=True)
        try:
            shutil.rmtree(folder)
        except OSError as err:
            raise StageError(f"cannot remove {folder}: {err.strerror or err}; remove it by hand, then run again") from err
        lines.append(f"removed {folder} ({num_units} done units)")
    return lines


def write_config(plan: RunPlan) -> None:
    """RUN/config.yaml, which every task reads."""
    remove_temporaries(plan.paths.root)
    text = dump_yaml(plan.config).encode()
    if not plan.paths.config.exists() or plan.paths.config.read_bytes() != text:
        write_bytes(plan.paths.config, text)


def _make(plan: RunPlan, stage: StageSurvey, workers: int | None, say: Say) -> StageSurvey:
    spec = stage.spec
    progress = StageProgress(plan.paths, spec.name, len(stage.states), stage.missing)
    say(progress.line())

    def tick() -> None:
        if line := progress.poll():
            say(line)

    run_tasks(plan_tasks(spec, plan.paths, len(stage.states), stage.missing, workers), tick)
    tick()
    after = survey_stage(plan, spec)
    if after.missing:
        units = ", ".join(map(str, after.missing[:10]))
        raise StageError(f"all workers of stage {spec.name!r} ended well, but units {units} are not done; see {plan.paths.logs}")
    return after
