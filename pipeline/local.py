"""`passerby run`: what is missing of a run, made on this machine, stage by stage, with a pool of worker processes."""

from collections.abc import Callable, Sequence

from pipeline import graph
from pipeline.config import dump_yaml
from pipeline.contracts.errors import StageError
from pipeline.describe import RunPlan
from pipeline.fileio import remove_temporaries, write_bytes
from pipeline.lock import run_lock
from pipeline.outputs import remove_stages
from pipeline.paths import RunPaths
from pipeline.progress import StageProgress
from pipeline.survey import StageSurvey, refuse_any_foreign, survey, survey_stage
from pipeline.workers import plan_tasks, run_tasks

Say = Callable[[str], None]


def run(plan: RunPlan, *, workers: int | None = None, redo: str | None = None, fresh: bool = False, say: Say = print) -> list[StageSurvey]:
    """Make everything of the run that is not there; returns the state of all stages at the end. A whole run is left as it is, quickly.

    Args:
        workers: processes a stage command; None takes one a GPU or a core.
        redo: a stage whose outputs, and all later ones, are removed first. fresh: all stages.
        say: gets the progress lines.

    Raises: ConfigError if another process works on the run; ContractError, before any work, on records of another config; StageError or
    ConfigError with the end of its log if a worker fails.
    """
    if redo:
        graph.find(redo)
    with run_lock(plan.paths):
        first = graph.STAGES[0].name if fresh else redo
        if first is not None:
            removed = {spec.name for spec in graph.from_stage(first)}
            refuse_any_foreign(plan, [stage for stage in survey(plan) if stage.spec.name not in removed])  # before anything is lost
            for line in remove_outputs(plan.paths, first):
                say(line)
        stages = {stage.spec.name: stage for stage in survey(plan)}
        refuse_any_foreign(plan, list(stages.values()))
        write_config(plan)
        changed = False
        for command in graph.commands(plan.execution):
            specs = graph.covered(command)
            current = [survey_stage(plan, spec) if changed else stages[spec.name] for spec in specs]
            if any(stage.missing for stage in current):
                current, changed = _make(plan, command, current, workers, say), True
            stages |= {stage.spec.name: stage for stage in current}
    return list(stages.values())


def remove_outputs(paths: RunPaths, first: str) -> list[str]:
    """Remove the outputs of stage `first` and of all later ones; returns what was removed, one line each."""
    return remove_stages(paths, [spec.name for spec in graph.from_stage(first)])


def write_config(plan: RunPlan) -> None:
    """RUN/config.yaml, which every task reads."""
    remove_temporaries(plan.paths.root)
    text = dump_yaml(plan.config).encode()
    if not plan.paths.config.exists() or plan.paths.config.read_bytes() != text:
        write_bytes(plan.paths.config, text)


def _make(plan: RunPlan, command: str, stages: Sequence[StageSurvey], workers: int | None, say: Say) -> list[StageSurvey]:
    """Run one stage command over what is missing of the stages that it covers; their state afterwards."""
    missing = sorted({unit for stage in stages for unit in stage.missing})
    progress = StageProgress(plan.paths, stages[-1].spec.name, len(stages[-1].states), missing, command)
    say(progress.line())

    def tick() -> None:
        if line := progress.poll():
            say(line)

    run_tasks(plan_tasks(command, plan.paths, missing, workers), tick)
    tick()
    after = [survey_stage(plan, stage.spec) for stage in stages]
    for stage in after:
        if stage.missing:
            units = ", ".join(map(str, stage.missing[:10]))
            raise StageError(f"all workers of stage {command!r} ended well, but units {units} are not done; see {plan.paths.logs}")
    return after
