"""The state of all units of a run against its resolved config. Read by plan, run and status; reads done records only."""

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from operator import attrgetter
from pathlib import Path
from typing import Any

from pipeline import graph
from pipeline.collector import paused
from pipeline.completion import State, is_checked, judge, refuse_foreign
from pipeline.contracts.errors import ContractError, ProjectError
from pipeline.describe import RunPlan, describe
from pipeline.fileio import read_json
from pipeline.paths import RunPaths
from pipeline.record_cache import Known, RecordCache

_SUMS = ("seconds", "seen", "kept", "dropped", "failed")


@dataclass(frozen=True, slots=True)
class StageSurvey:
    """One stage: its records by unit (None: there is none), and the state of each unit."""

    spec: graph.StageSpec
    records: Mapping[int, Known | None]
    states: Mapping[int, State]

    @property
    def missing(self) -> list[int]:
        """Units to be made: never made, or their inputs were made again since; or to be checked."""
        return [unit for unit, state in self.states.items() if state in (State.MISSING, State.STALE)]

    @property
    def done(self) -> list[Known]:
        return [record for unit, record in self.records.items() if record and self.states[unit] is State.DONE]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of a stage over its done units; reasons from frequent to rare."""

    seconds: float = 0.0
    seen: int = 0
    kept: int = 0
    dropped: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def survey(plan: RunPlan) -> list[StageSurvey]:
    """All stages as they are now, in the order of the flow. Raises ContractError on a file that is not the record of its unit."""
    cache = RecordCache(plan.paths)
    cache.refresh(plan.digests)
    return judge_all(plan, cache)


def judge_all(plan: RunPlan, cache: RecordCache) -> list[StageSurvey]:
    """survey of records that the cache has read already."""
    with paused():
        return [_survey(plan, spec, cache) for spec in graph.STAGES]


def look(config: Path, overrides: Sequence[str]) -> tuple[RunPlan, RecordCache]:
    """A run and its records. Those of CONFIG|RUN's folder are read while the stage package answers: the two take about as long."""
    ahead = RecordCache(RunPaths(config))
    is_read = False

    def read_ahead() -> None:
        nonlocal is_read
        with suppress(OSError, ProjectError):  # a recipe has no records, and what is wrong is told once the run is known
            ahead.refresh(spec.name for spec in graph.STAGES)
            is_read = True

    plan = describe(config, overrides, meanwhile=read_ahead)
    if is_read and plan.paths == ahead.paths:
        return plan, ahead
    cache = RecordCache(plan.paths)
    cache.refresh(plan.digests)
    return plan, cache


def survey_stage(plan: RunPlan, spec: graph.StageSpec) -> StageSurvey:
    """One stage as it is now: needed anew once an earlier stage has made something."""
    cache = RecordCache(plan.paths)
    cache.refresh((spec.name, *spec.inputs))
    return _survey(plan, spec, cache)


def _survey(plan: RunPlan, spec: graph.StageSpec, cache: RecordCache) -> StageSurvey:
    known = cache.records(spec.name)
    records = {unit: known.get(unit) for unit in plan.units(spec)}
    states, sources, wanted = {}, graph.sources_of(spec, plan.num_units), plan.digests[spec.name]
    for unit, record in records.items():
        if record is None:
            states[unit] = State.MISSING
            continue
        # without one of its inputs a unit cannot be vouched for: then it counts as stale
        states[unit] = judge(record, wanted, cache.input_digest(sources(unit)), cache.has_files)
    if not is_checked(plan.paths, spec.name, plan.checks.get(spec.name)):
        states = {unit: State.STALE if state is State.DONE else state for unit, state in states.items()}
    return StageSurvey(spec, records, states)


def refuse_any_foreign(plan: RunPlan, stages: list[StageSurvey]) -> None:
    """Raises ContractError for the first record that another config has left, before anything is made."""
    for stage in stages:
        for unit, state in stage.states.items():
            record = stage.records[unit]
            if record and state is State.FOREIGN:
                raise _foreign(plan, stage, record)


def _foreign(plan: RunPlan, stage: StageSurvey, record: Known) -> ContractError:
    paths, name = plan.paths, stage.spec.name
    changes = changed_settings(plan, name)
    known = ", ".join(changes) or (
        "the settings are those of config.yaml, but it was edited, or a file that it names, or passerby itself, has changed"
    )
    way_out = f"go on as config.yaml says by `passerby run {paths.typed}`, " if changes else ""
    redecide = f"`passerby redecide {paths.typed}"
    if (stopped := _stopped_redecide(paths, stage)) is not None:
        sets = [f"--set {shlex.quote(f'filter.thresholds.{field}={json.dumps(value)}')}" for field, value in stopped.items()]
        known = ", ".join([*changes, f"a redecide was stopped, whose thresholds are in {paths.redecided}"])
        way_out = f"end it by {' '.join([redecide, *sets])} --yes`, "
        way_out += f"take it back by {redecide} --yes` (config.yaml's thresholds), " if sets else ""
    elif changes and all(change.startswith("filter.thresholds.") for change in changes):
        way_out += f"judge the stored measures anew with {redecide} --set ...`, "
    return refuse_foreign(paths, record, plan.digests[name], known, way_out)


def _stopped_redecide(paths: RunPaths, stage: StageSurvey) -> Mapping[str, Any] | None:
    """What the newest one was to change in config.yaml, where one has left records.

    None too where its file is damaged: a redecide, which reads it for its work, tells what is wrong.
    """
    if stage.spec.name != "filter" or not paths.redecided.exists() or not paths.config.exists():
        return None
    from pipeline.config import read_yaml  # here: as in changed_settings

    try:
        found = read_json(paths.redecided)
        old = read_yaml(paths.config)["filter"]["thresholds"]
        (*_, (newest, thresholds)) = found.items()
        changes = {field: value for field, value in thresholds.items() if value != old[field]}
        known = found.keys() if changes else found.keys() - {newest}  # else config.yaml's: `passerby run` may have ended it
        return changes if any(record and record.config_digest in known for record in stage.records.values()) else None
    except (ProjectError, AttributeError, KeyError, TypeError):
        return None


def changed_settings(plan: RunPlan, stage: str) -> list[str]:
    """Fields of a stage, and of the run, whose values are not those of RUN/config.yaml: `generate.steps 20 -> 30`."""
    if not plan.paths.config.exists():
        return []
    from pipeline.config import changed_fields, read_yaml  # here: yaml is slow to import, and few runs are foreign

    changed = changed_fields(read_yaml(plan.paths.config), plan.config)
    return [f"{name} {change}" for name, change in changed.items() if name.startswith(f"{stage}.") or name in ("run.seed", "run.unit_size")]


def totals(done: Sequence[Known]) -> Totals:
    """Of the records of one stage."""
    reasons: Counter[str] = Counter()
    for record in done:
        for reason, number in record.reasons.items():
            reasons[reason] += number
    seconds, seen, kept, dropped, failed = (sum(map(attrgetter(name), done)) for name in _SUMS)
    return Totals(seconds, seen, kept, dropped, failed, dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))))


def to_json(stage: StageSurvey) -> dict[str, Any]:
    """The row of a stage in `plan --json` and `status --json`. estimated_seconds: of one worker, None where no unit is done."""
    states = Counter(stage.states.values())
    done, num_missing = stage.done, len(stage.missing)
    total = totals(done)
    estimate = round(num_missing * total.seconds / len(done), 1) if done else None
    return {
        "stage": stage.spec.name,
        "kind": stage.spec.kind,
        "resource": stage.spec.resource,
        "units": len(stage.states),
        **{state.value: states[state] for state in State},
        "estimated_seconds": estimate if num_missing else 0.0,
        "seconds": round(total.seconds, 2),
        "seen": total.seen,
        "kept": total.kept,
        "dropped": total.dropped,
        "failed": total.failed,
        "reasons": total.reasons,
    }
