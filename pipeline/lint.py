"""`passerby lint RUN`: do the files of a run hold what records, ledgers, index and manifest say? Reads everything, changes nothing."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

from pipeline import graph
from pipeline.completion import State, read_record
from pipeline.contracts.errors import ContractError, ProjectError
from pipeline.contracts.manifest import DoneRecord
from pipeline.describe import describe
from pipeline.fileio import sha256_file
from pipeline.lint_shards import shard_problems
from pipeline.paths import MANIFEST_FILE, RunPaths
from pipeline.survey import survey
from pipeline.tables import read_columns

_LEDGER = ("key", "status", "reason")
_NUM_NAMED = 3  # records in a way out


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. file, and the done record that vouches for it (None in a folder of shards): below the run folder."""

    file: str
    text: str
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """stage -> units that `passerby run` would make, and those that it refuses because they were made with other settings."""

    not_made: dict[str, int]
    other_settings: dict[str, int]


def lint(paths: RunPaths, *, decode: bool = True, jobs: int = 1) -> list[Finding]:
    """All findings of a run, stage by stage, then its shards; empty means sound.

    decode: also decode every picture of the shards. jobs: processes that look at shards. A folder that holds nothing but shards (a copy,
    a download) is accepted too. Raises ContractError if the folder is neither.
    """
    if (paths.root / MANIFEST_FILE).exists():
        return _shard_findings(paths.root, "", decode, jobs)
    if not any(paths.done_units(spec.name) for spec in graph.STAGES):
        raise ContractError(f"{paths.root} holds no done record of any stage and no manifest.json; accepted: a started run, or its shards")
    findings: list[Finding] = []
    for spec in graph.STAGES:
        for unit in paths.done_units(spec.name):
            findings += _guarded(paths, paths.done(spec.name, unit), _unit_findings(paths, spec, unit))
    if paths.done_units("shard"):
        folder = paths.stage("shard")
        findings += _shard_findings(folder, f"{folder.name}/", decode, jobs)
    return findings


def left(paths: RunPaths) -> Left:
    """What a run still lacks; nothing for a finished one, and for a folder of shards.

    Where shards outlive the records of all unit stages nothing is missing, and where their recipe is refused here (a model or a file that
    it names lies elsewhere) they count as finished. Raises as `describe` does where there are no shards either.
    """
    nothing = Left({}, {})
    has_shards = bool(paths.done_units("shard"))
    is_cleared = has_shards and not any(paths.done_units(spec.name) for spec in graph.CHAIN)
    if (paths.root / MANIFEST_FILE).exists():
        return nothing
    try:
        plan = describe(paths.root)
    except ProjectError:
        if has_shards:
            return nothing
        raise
    stages = survey(plan)
    foreign = {stage.spec.name: list(stage.states.values()).count(State.FOREIGN) for stage in stages}
    not_made = {stage.spec.name: len(stage.missing) for stage in stages if stage.missing}
    return Left({} if is_cleared else not_made, {name: count for name, count in foreign.items() if count})


def ways_out(paths: RunPaths, findings: Sequence[Finding]) -> list[str]:
    """What to do about them, in this order: what is made again from sound files has the bytes that it had.

    Pictures that were deleted once shards were made are no reason to draw them again: shards do not need them.
    """
    if not findings:
        return []
    if not paths.config.exists():
        return ["copy these files again from where they came, or make them again in their run (`passerby lint` says how there)"]
    shards, run = paths.stage("shard").name, f"`passerby run {paths.typed}"
    num_drawn = _num_drawn(paths) if (has_shards := bool(paths.done_units("shard"))) else 0  # else not drawn yet
    of_shards = {finding for finding in findings if finding.record is None or finding.record.startswith(f"{shards}/")}
    absent = {finding for finding in findings if finding.file.endswith(".tar") and not (paths.root / finding.file).exists()}
    others = of_shards | absent if has_shards else of_shards
    records = list(dict.fromkeys(str(finding.record) for finding in findings if finding not in others))
    drawing = f"draws {num_drawn} images again, whose tars are gone" if num_drawn else ""
    lines = []
    if records:
        named = " ".join(shlex.quote(str(paths.root / record)) for record in records[:_NUM_NAMED])
        more = f" and {len(records) - _NUM_NAMED} more, which `--json` names" if len(records) > _NUM_NAMED else ""
        lines.append(f"make these units again: delete {named}{more}, then {run}`" + f", which {drawing}" * bool(drawing))
    if of_shards and drawing:
        lines.append(f"copy the shards again from where else they are; {run} --redo shard` {drawing}")
    elif of_shards:
        lines.append(f"make the shards again: {run} --redo shard`")
    elif has_shards:
        lines.append("the shards are sound and need none of these files" + f"; {run}` {drawing}" * bool(drawing))
    return lines


def _num_drawn(paths: RunPaths) -> int:
    """Images that `passerby run` would draw: their unit has no record, or no tar. 0 where it refuses the recipe."""
    try:
        plan = describe(paths.root)
    except ProjectError:
        return 0
    missing = [u for u in range(plan.num_units) if not (paths.done("generate", u).exists() and paths.units("generate", u, "tar").exists())]
    return min(len(missing) * int(plan.config["run"]["unit_size"]), plan.num_images)


def _shard_findings(folder: Path, prefix: str, decode: bool, jobs: int) -> list[Finding]:
    """Names from damaged files may hold what no terminal and no UTF-8 file takes; it is shown as \\udc80."""
    found = shard_problems(folder, decode=decode, jobs=jobs)
    return [Finding(prefix + file, text.encode(errors="backslashreplace").decode()) for file, text in found]


def _guarded(paths: RunPaths, file: Path, findings: Iterator[Finding]) -> list[Finding]:
    """A file that cannot be read is a finding, and the next unit is looked at all the same."""
    result = []
    try:
        for finding in findings:
            result.append(finding)
    except ContractError as err:
        result.append(Finding(paths.relative(file), str(err)))
    except OSError as err:
        result.append(Finding(paths.relative(file), f"{err.filename} cannot be read ({err.strerror})"))
    return [replace(finding, record=paths.relative(file)) for finding in result]


def _unit_findings(paths: RunPaths, spec: graph.StageSpec, unit: int) -> Iterator[Finding]:
    record = read_record(paths, spec.name, unit)
    assert record is not None, "listed a moment ago"
    for name, digest in record.files.items():
        if not (paths.root / name).exists():
            yield Finding(name, "is in a done record, but does not exist")
        elif sha256_file(paths.root / name) != digest:
            yield Finding(name, "its sha256 is not the one in the done record")
    ledger = paths.ledger(spec.name, unit)
    if paths.relative(ledger) not in record.files:
        return
    columns = read_columns(ledger, _LEDGER)
    yield from _ledger_findings(paths.relative(ledger), columns, record)
    if spec.kind == "units" and spec.rows_from not in (None, "prompts"):
        if not paths.done(str(spec.rows_from), unit).exists():
            yield Finding(
                paths.relative(paths.done(spec.name, unit)), f"is there, but unit {unit} of {spec.rows_from!r} before it is not done"
            )
            return
        earlier = paths.ledger(str(spec.rows_from), unit)
        before = read_columns(earlier, ("key", "status"))
        kept = [key for key, status in zip(before["key"], before["status"], strict=True) if status == "kept"]
        if kept != columns["key"]:
            text = f"does not see exactly the keys that {paths.relative(earlier)} keeps"
            yield Finding(paths.relative(ledger), text + _difference(kept, columns["key"]))


def _ledger_findings(name: str, columns: dict[str, list[str]], record: DoneRecord) -> Iterator[Finding]:
    keys, counts = columns["key"], record.counts
    if any(one >= other for one, other in pairwise(keys)):
        yield Finding(name, "keys are not sorted and unique")
    status = Counter(columns["status"])
    if (len(keys), status["kept"], status["dropped"], status["failed"]) != (counts.seen, counts.kept, counts.dropped, counts.failed):
        yield Finding(name, f"{len(keys)} rows with {dict(status)}, but the done record counts {counts}")
    if Counter(r for r, s in zip(columns["reason"], columns["status"], strict=True) if s != "kept") != Counter(counts.reasons):
        yield Finding(name, f"its reasons are not those of the done record, {counts.reasons}")


def _difference(wanted: Sequence[str], found: Sequence[str]) -> str:
    sides = {"missing": sorted(set(wanted) - set(found)), "extra": sorted(set(found) - set(wanted))}
    said = [f"{len(keys)} {word}: {', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''}" for word, keys in sides.items() if keys]
    return f" ({'; '.join(said)})" if said else ""
