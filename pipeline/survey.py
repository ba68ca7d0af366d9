"""The state of all units of a run against its resolved config. Read by plan, run and status; reads done records only."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline import graph
from pipeline.completion import State, judge, refuse_foreign
from pipeline.config import changed_fields, read_yaml
from pipeline.contracts.manifest import DoneRecord
from pipeline.describe import RunPlan
from pipeline.record_cache import RecordCache


@dataclass(frozen=True, slots=True)
class StageSurvey:
    """One stage: its records by unit (None: there is none), and the state of each unit."""

    spec: graph.StageSpec
    records: Mapping[int, DoneRecord | None]
    states: Mapping[int, State]

    @property
    def missing(self) -> list[int]:
        """Units to be made: never made, or their inputs were made again since."""
        return [unit for unit, state in self.states.items() if state in (State.MISSING, State.STALE)]

    @property
    def done(self) -> list[DoneRecord]:
        return [record for unit, record in self.records.items() if record and self.states[unit] is State.DONE]

    @property
    def estimated_seconds(self) -> float | None:
        """Seconds that one worker needs for the missing units, from those that are done; None where none is."""
        if not self.missing:
            return 0.0
        seconds = [record.seconds for record in self.done]
        return round(len(self.missing) * sum(seconds) / len(seconds), 1) if seconds else None


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of a stage over its done units; reasons from frequent to rare."""

    seen: int = 0
    kept: int = 0
    dropped: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)


def survey(plan: RunPlan, cache: RecordCache | None = None) -> list[StageSurvey]:
    """All stages in the order of the flow. A cache that is given again makes the next look cheaper."""
    cache = cache or RecordCache(plan.paths)
    cache.refresh(plan.digests)
    return [_survey(plan, spec, cache) for spec in graph.STAGES]


def survey_stage(plan: RunPlan, spec: graph.StageSpec) -> StageSurvey:
    """One stage as it is now: needed anew once an earlier stage has made something."""
    cache = RecordCache(plan.paths)
    cache.refresh((spec.name, *spec.inputs))
    return _survey(plan, spec, cache)


def _survey(plan: RunPlan, spec: graph.StageSpec, cache: RecordCache) -> StageSurvey:
    records = {unit: cache.record(spec.name, unit) for unit in plan.units(spec)}
    states, sources, wanted = {}, graph.sources_of(spec, plan.num_units), plan.digests[spec.name]
    for unit, record in records.items():
        if record is None:
            states[unit] = State.MISSING
            continue
        # without one of its inputs a unit cannot be vouched for: then it counts as stale
        states[unit] = judge(record, wanted, cache.input_digest(sources(unit)), cache.has_files)
    return StageSurvey(spec, records, states)


def refuse_any_foreign(plan: RunPlan, stages: list[StageSurvey]) -> None:
    """Raises ContractError for the first record that another config has left, before anything is made."""
    for stage in stages:
        for unit, state in stage.states.items():
            record = stage.records[unit]
            if record and state is State.FOREIGN:
                changes = _changes(plan, stage.spec.name)
                only_thresholds = bool(changes) and all(change.startswith("filter.thresholds.") for change in changes)
                way_out = (
                    f"judge the stored measures anew with `passerby redecide {plan.paths.root} --set ...`, " if only_thresholds else ""
                )
                known = (
                    ", ".join(changes)
                    or "the settings are those of config.yaml, but a file that they name, or passerby itself, has changed"
                )
                raise refuse_foreign(plan.paths, record, plan.digests[stage.spec.name], known, way_out)


def _changes(plan: RunPlan, stage: str) -> list[str]:
    """Fields of a stage, and of the run, whose values are not those of RUN/config.yaml: `generate.steps 20 -> 30`."""
    if not plan.paths.config.exists():
        return []
    changed = changed_fields(read_yaml(plan.paths.config), plan.config)
    return [f"{name} {change}" for name, change in changed.items() if name.startswith(f"{stage}.") or name in ("run.seed", "run.unit_size")]


def totals(stage: StageSurvey) -> Totals:
    counts = [record.counts for record in stage.done]
    reasons: Counter[str] = Counter()
    for count in counts:
        for reason, number in count.reasons.items():
            reasons[reason] += number
    return Totals(
        sum(c.seen for c in counts),
        sum(c.kept for c in counts),
        sum(c.dropped for c in counts),
        sum(c.failed for c in counts),
        dict(sorted(reasons.items(), key=lambda item: (-item[1], item[0]))),
    )


def to_json(stage: StageSurvey) -> dict[str, Any]:
    """The row of a stage in `plan --json` and `status --json`."""
    states = Counter(stage.states.values())
    total = totals(stage)
    return {
        "stage": stage.spec.name,
        "kind": stage.spec.kind,
        "resource": stage.spec.resource,
        "units": len(stage.states),
        **{state.value: states[state] for state in State},
        "estimated_seconds": stage.estimated_seconds,
        "seconds": round(sum(record.seconds for record in stage.done), 2),
        "seen": total.seen,
        "kept": total.kept,
        "dropped": total.dropped,
        "failed": total.failed,
        "reasons": total.reasons,
    }
