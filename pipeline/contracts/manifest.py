"""Done records and shard manifests: small JSON files that are written last and say that, and from what, something is whole.

Written by `pipeline.runner` and `generation.shard`; read by completion checks, status, lint, report and the loaders of `pretrain`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ContractError


def check_counts(seen: int, kept: int, dropped: int, failed: int, reasons: Mapping[str, int]) -> None:
    """Raises ContractError on numbers that no Counts can have."""
    if seen != kept + dropped + failed:
        raise ContractError(f"ledger does not balance: seen {seen} != kept {kept} + dropped {dropped} + failed {failed}")
    if sum(reasons.values()) != dropped + failed:
        raise ContractError(f"reasons {reasons} do not add up to dropped {dropped} + failed {failed}")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """seen == kept + dropped + failed, checked on construction; reasons counts dropped and failed samples by reason."""

    seen: int
    kept: int
    dropped: int
    failed: int
    reasons: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_counts(self.seen, self.kept, self.dropped, self.failed, self.reasons)

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> "Counts":
        """Counts of ledger rows (status, reason)."""
        judged = [(row["status"], row["reason"]) for row in rows]
        status = Counter(name for name, _ in judged)
        reasons = Counter(reason for name, reason in judged if name != "kept")
        return cls(
            seen=len(judged),
            kept=status["kept"],
            dropped=status["dropped"],
            failed=status["failed"],
            reasons=dict(sorted(reasons.items())),
        )

    @classmethod
    def total(cls, counts: Iterable["Counts"]) -> "Counts":
        """The sum, reasons from frequent to rare."""
        parts = list(counts)
        sums = {name: sum(getattr(part, name) for part in parts) for name in ("seen", "kept", "dropped", "failed")}
        reasons = sum((Counter(part.reasons) for part in parts), Counter[str]())
        return cls(**sums, reasons=dict(reasons.most_common()))

    @classmethod
    def from_json(cls, data: Any) -> "Counts":
        """Raises KeyError, TypeError or ContractError."""
        counts = cls(**data)
        _check_numbers("counts", {name: getattr(counts, name) for name in ("seen", "kept", "dropped", "failed")})
        _check_numbers("counts.reasons", counts.reasons)
        return counts


def _check_numbers(name: str, values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        if type(value) is not int or value < 0:
            raise TypeError(f"{name}.{key} is {value!r}; accepted: a whole number from 0")


def _check_kinds(name: str, values: Any, **kinds: type) -> None:
    """name: of what holds the values, with its dot."""
    if not isinstance(values, dict):
        raise TypeError(f"{name.removesuffix('.') or 'it'} is a {type(values).__name__}; accepted: dict")
    for key, kind in kinds.items():
        if key not in values:
            raise TypeError(f"{name}{key} is missing")
        if not isinstance(values[key], (int, float) if kind is float else kind):
            raise TypeError(f"{name}{key} is a {type(values[key]).__name__}; accepted: {kind.__name__}")


@dataclass(frozen=True, kw_only=True)
class DoneRecord:
    """runs/NAME/<stage>/done/000123.json: unit `unit` of `stage` is whole on disk."""

    stage: str
    unit: int
    config_digest: str  # of this stage's section and of everything before it
    input_digest: str  # over the done records that this unit was made from, less their seconds and code version
    counts: Counts
    seconds: float
    files: dict[str, str]  # path below the run folder -> sha256
    code_version: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> "DoneRecord":
        try:
            _check_kinds("", data, stage=str, unit=int, config_digest=str, input_digest=str, counts=dict, seconds=float, files=dict)
            return cls(**{**data, "counts": Counts.from_json(data["counts"])})
        except (KeyError, TypeError, AttributeError, ContractError) as err:
            raise ContractError(f"{where} is not a done record ({err}); delete it to have the unit made again") from err


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardManifest:
    """runs/NAME/shards/manifest.json. `shards` maps a file name to {"sha256", "bytes", "samples"}."""

    schema: int
    split_counts: dict[str, int]  # {"train": 900, "val": 100}
    counts: Counts
    shards: dict[str, dict[str, Any]]
    config_digest: str
    attribute_space: dict[str, Any]  # AttributeSpace.to_json()
    code_version: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any], where: str) -> "ShardManifest":
        try:
            _check_kinds("", data, schema=int, split_counts=dict, counts=dict, shards=dict)
            _check_numbers("split_counts", data["split_counts"])
            for name, said in data["shards"].items():
                _check_kinds(f"shards.{name}.", said, sha256=str, bytes=int, samples=int)
            AttributeSpace.from_json(data["attribute_space"])
            return cls(**{**data, "counts": Counts.from_json(data["counts"])})
        except (KeyError, TypeError, AttributeError, ContractError) as err:
            raise _no_manifest(where, err) from err

    @classmethod
    def parse(cls, text: bytes, where: str) -> "ShardManifest":
        """From the bytes of a manifest.json. Raises ContractError naming `where`."""
        try:
            data = json.loads(text)
        except ValueError as err:
            raise _no_manifest(where, err) from err
        return cls.from_json(data, where)


def _no_manifest(where: str, err: Exception) -> ContractError:
    return ContractError(
        f"{where} is not a shard manifest ({err}); copy it anew, or make the shards again: `passerby run RUN --redo shard`"
    )
