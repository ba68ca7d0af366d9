"""What is done, what is missing, what belongs to another config. Reads done records only, never the data behind them."""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from json.encoder import encode_basestring_ascii as _quoted
from typing import Protocol, TypeVar

from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.contracts.manifest import DoneRecord
from pipeline.fileio import digest_text, read_json, write_json
from pipeline.paths import RunPaths


class State(StrEnum):
    """DONE: whole, of this config and these inputs. STALE: its inputs were made again since, or it has yet to be
    checked. FOREIGN: of another config.
    """

    DONE = "done"
    MISSING = "missing"
    STALE = "stale"
    FOREIGN = "foreign"


class AnyRecord(Protocol):
    """A done record, or what is kept of it where there are thousands (pipeline/record_cache.py)."""

    @property
    def stage(self) -> str: ...
    @property
    def unit(self) -> int: ...
    @property
    def config_digest(self) -> str: ...
    @property
    def input_digest(self) -> str: ...


_DRAWN = ("prompts", "generate")  # stages whose results follow from the run's seed
R = TypeVar("R", bound=AnyRecord)


def partition(num_units: int, num_tasks: int) -> list[range]:
    """The units of each task: unit u goes to task u % num_tasks, so that neighbouring units, which cost alike, spread evenly.

    Every unit is in exactly one range; with more tasks than units some ranges are empty. Raises ConfigError on impossible numbers.
    """
    if num_units < 0 or num_tasks < 1:
        raise ConfigError(f"{num_units} units in {num_tasks} tasks; accepted: units >= 0, tasks >= 1")
    return [range(task, num_units, num_tasks) for task in range(num_tasks)]


def units_of_task(num_units: int, task: int, num_tasks: int) -> range:
    """partition(...)[task]. Raises ConfigError if there is no such task."""
    if not 0 <= task < num_tasks:
        raise ConfigError(f"--task {task} of --num-tasks {num_tasks}; accepted: 0 to {num_tasks - 1}")
    return partition(num_units, num_tasks)[task]


def read_record(paths: RunPaths, stage: str, unit: int) -> DoneRecord | None:
    """The done record, or None. Raises ContractError on a file that is not the record of this unit."""
    path = paths.done(stage, unit)
    if not path.exists():
        return None
    try:
        record = DoneRecord.from_json(read_json(path), str(path))
    except ContractError as err:
        raise ContractError(f"{err}; delete {path} to have the unit made again") from err
    if (record.stage, record.unit) != (stage, unit):
        raise ContractError(f"{path} is the record of unit {record.unit} of {record.stage!r}; delete it to have unit {unit} made again")
    return record


def input_digest(paths: RunPaths, sources: Iterable[tuple[str, int]]) -> str:
    """Digest of the (stage, unit) pairs that a unit is made from: their configs and file hashes, not their seconds or code version.

    Raises ContractError if one of them is not done.
    """
    records = []
    for stage, unit in sources:
        record = read_record(paths, stage, unit)
        if record is None:
            raise ContractError(f"{paths.done(stage, unit)} does not exist: unit {unit} of {stage!r} is not done; run that stage first")
        records.append(record)
    return records_digest(records)


def records_digest(records: Iterable[DoneRecord]) -> str:
    """input_digest of records that are already read, in the same order."""
    return texts_digest(record_text(record) for record in records)


def record_text(record: DoneRecord) -> str:
    """What a record vouches for: fileio.canonical([stage, unit, config_digest, files])."""
    return vouched_text(record.stage, record.unit, record.config_digest, record.files)


def vouched_text(stage: str, unit: int, config_digest: str, files: Mapping[str, str]) -> str:
    """record_text of these parts; by hand because a first look asks it 30,000 times."""
    hashes = ",".join([f"{_quoted(name)}:{_quoted(sha256)}" for name, sha256 in sorted(files.items())])
    return f"[{_quoted(stage)},{unit},{_quoted(config_digest)},{{{hashes}}}]"


def texts_digest(texts: Iterable[str]) -> str:
    """records_digest of records whose texts are known."""
    return digest_text("[" + ",".join(texts) + "]")


def unit_state(paths: RunPaths, record: DoneRecord | None, config_digest: str, inputs: str) -> State:
    """Judge a record against the digests that are wanted now. A record whose files are gone counts as missing."""
    if record is None:
        return State.MISSING
    return judge(record, config_digest, inputs, lambda r: all((paths.root / name).exists() for name in r.files))


def judge(record: R, config_digest: str, inputs: str, has_files: Callable[[R], bool]) -> State:
    """unit_state of a record that is there; has_files tells whether its files are."""
    if record.config_digest != config_digest:
        return State.FOREIGN
    if record.input_digest != inputs:
        return State.STALE
    return State.DONE if has_files(record) else State.MISSING


def is_checked(paths: RunPaths, stage: str, check: str | None) -> bool:
    """Whether the output of a stage has passed this check (a digest of what is checked, and how). None: there is nothing to check."""
    if check is None:
        return True
    try:
        return bool(read_json(paths.checked(stage)) == {"check": check})
    except ContractError:
        return False


def mark_checked(paths: RunPaths, stage: str, check: str | None) -> None:
    """Remember that the output of a stage has passed this check."""
    if check is not None:
        write_json(paths.checked(stage), {"check": check})


def refuse_foreign(paths: RunPaths, record: AnyRecord, config_digest: str, changed: str = "", way_out: str = "") -> ContractError:
    """The error for a record of another config, with the ways out. changed: what differs, where that is known; way_out: one more."""
    more = " (for more pictures another run.seed too: one seed gives the same ones again)" if record.stage in _DRAWN else ""
    return ContractError(
        f"{paths.done(record.stage, record.unit)} was made with another config of stage {record.stage!r} "
        f"({f'{changed}; ' if changed else ''}digest {record.config_digest}, now {config_digest}); "
        f"go back to the old settings, give the new ones another run.name{more}, {way_out}"
        f"or remove this stage's and all later outputs with `passerby run CONFIG --redo {record.stage}`"
    )
