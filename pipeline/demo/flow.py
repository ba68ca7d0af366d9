"""Counts of a generation run, from its done records, ledgers and rows; opens no picture.

Reads runs/NAME as `pipeline.runner` and `generation.shard` write it; read by `pipeline.demo.collect` and the report.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.completion import read_record
from pipeline.contracts.attributes import MISSING, AttributeSpace
from pipeline.contracts.errors import ContractError
from pipeline.contracts.stage import Row
from pipeline.graph import STAGES
from pipeline.paths import RunPaths
from pipeline.tables import read_rows


@dataclass(frozen=True, slots=True, kw_only=True)
class StageFlow:
    """One stage over all its units; seen == kept + dropped + failed. seconds: work time, summed over units and so over workers."""

    name: str
    seen: int
    kept: int
    dropped: dict[str, int]  # reason -> samples judged unfit, most frequent first
    failed: dict[str, int]  # reason -> samples that could not be processed
    seconds: float

    @property
    def lost(self) -> dict[str, int]:
        """Dropped and failed together, most frequent reason first."""
        return _ordered(Counter(self.dropped) + Counter(self.failed))


def read_flow(paths: RunPaths) -> list[StageFlow]:
    """All stages of a finished run, in their order.

    Raises ContractError for a stage without a done unit, or whose ledger does not agree with its done records.
    """
    return [_stage_flow(paths, spec.name) for spec in STAGES]


def _stage_flow(paths: RunPaths, stage: str) -> StageFlow:
    units = paths.done_units(stage)
    if not units:
        raise ContractError(f"{paths.stage(stage)} holds no finished unit; run the generation run {paths.root} to its end first")
    records = [record for unit in units if (record := read_record(paths, stage, unit))]
    status: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {"dropped": Counter(), "failed": Counter()}
    for unit in units:
        for row in read_rows(paths.ledger(stage, unit), ("status", "reason")):
            status[row["status"]] += 1
            if row["status"] in reasons:
                reasons[row["status"]][row["reason"]] += 1
    recorded = {name: sum(getattr(record.counts, name) for record in records) for name in ("kept", "dropped", "failed")}
    if recorded != {name: status[name] for name in recorded}:
        raise ContractError(f"{paths.stage(stage)}: done records count {recorded}, ledgers {dict(status)}; make this stage again")
    return StageFlow(
        name=stage,
        seen=sum(record.counts.seen for record in records),
        kept=recorded["kept"],
        dropped=_ordered(reasons["dropped"]),
        failed=_ordered(reasons["failed"]),
        seconds=sum(record.seconds for record in records),
    )


def _ordered(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def read_units(paths: RunPaths, stage: str) -> Iterator[tuple[int, list[Row]]]:
    """(unit, all its rows) for every finished unit, kept rows and the others alike."""
    for unit in paths.done_units(stage):
        yield unit, read_rows(paths.units(stage, unit, "parquet"))


def kept_rows(paths: RunPaths) -> list[Row]:
    """The rows of `annotate` whose samples stand in the final shards, by key."""
    accepted = {row["key"] for row in read_rows(paths.ledger("shard", 0)) if row["status"] == "kept"}
    rows = [row for _, unit in read_units(paths, "annotate") for row in unit if row["key"] in accepted]
    return sorted(rows, key=lambda row: row["key"])


def attribute_counts(rows: Sequence[Row], space: AttributeSpace) -> dict[str, dict[str, int]]:
    """name -> {"0": samples, "1": samples, "not_stated": samples}, in the order of the space."""
    names = {0: "0", 1: "1", MISSING: "not_stated"}
    counts: dict[str, dict[str, int]] = {name: dict.fromkeys(names.values(), 0) for name in space.names}
    for row in rows:
        for name in space.names:
            counts[name][names[attributes_of(row).get(name, MISSING)]] += 1
    return counts


def attributes_of(row: Row) -> dict[str, Any]:
    """Attribute values of a row of `annotate`."""
    return row.get("attributes") or {}
