"""`redecide`: other filter thresholds on a finished filter stage, from the stored measures, without opening a picture.

The result is byte for byte what the filter would have written under the new thresholds; every later stage is removed, to be made again by
`passerby run`. May be killed at any time and called again, with the same thresholds or others: config.yaml, which says what the records
were made with, changes last, and RunPaths.redecided says which thresholds they may carry besides. Left behind, that file allows nothing
else: their digests are computed from it.
"""

import shlex
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from generation.config import GenerationConfig
from generation.digests import stage_digests
from generation.filter_decision import Thresholds, decide
from generation.recipes import load_started
from generation.stages import STAGES
from pipeline.completion import read_record
from pipeline.config import build, to_dict, to_yaml
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.fileio import read_json, sha256_file, write_bytes, write_json
from pipeline.lock import run_lock
from pipeline.outputs import remove_stages
from pipeline.paths import RunPaths
from pipeline.progress import bar
from pipeline.tables import read_columns, replace_columns, write_rows
from pipeline.version import code_version

STAGE = "filter"
LATER = tuple(STAGES)[list(STAGES).index(STAGE) + 1 :]
_NUM_EXAMPLES = 3
_NEEDED = ("key", "status", "reason", "measures")  # key points, prompts and models stay undecoded, which took most of the time
Columns = dict[str, list[Any]]


@dataclass(slots=True)
class Changes:
    """What other thresholds would do to the units that are done. moves: (reason before, reason after) -> images; None is kept.

    other_thresholds: units that a redecide which was stopped has left.
    """

    other_thresholds: int = 0
    units: int = 0
    images: int = 0
    kept_before: int = 0
    kept_after: int = 0
    moves: Counter[tuple[str | None, str | None]] = field(default_factory=Counter)
    examples: dict[tuple[str | None, str | None], list[str]] = field(default_factory=dict)

    def add(self, before: Columns, after: Columns) -> None:
        self.units += 1
        self.images += len(before["key"])
        self.kept_before += before["status"].count("kept")
        self.kept_after += after["status"].count("kept")
        for key, old, new in zip(before["key"], before["reason"], after["reason"], strict=True):
            if old != new:
                self.moves[old, new] += 1
                if len(keys := self.examples.setdefault((old, new), [])) < _NUM_EXAMPLES:
                    keys.append(key)


def redecide(new: GenerationConfig, apply: bool) -> dict[str, Any]:
    """What changes, as JSON; done if `apply`. `new` may differ from the run's config.yaml in filter.thresholds only.

    Raises: ConfigError if it differs elsewhere or somebody works on the run; ContractError if the run has no filtered units, or units of
    yet another config; those of a redecide that was killed are taken, whatever its thresholds were.
    """
    paths = RunPaths(new.run.path)
    old = load_started(paths.root)
    _refuse_other_changes(old, new)
    digest = stage_digests(new)[STAGE]
    records = _checked_records(paths, old, new)
    changes = Changes(other_thresholds=_num_others(records, old))
    is_so_already = old.filter == new.filter and all(record.config_digest == digest for record in records)
    if is_so_already and apply and paths.redecided.exists():
        with run_lock(paths):
            if all(record.config_digest == digest for record in _checked_records(paths, old, new)):  # again, as below
                paths.redecided.unlink(missing_ok=True)
    if not apply or is_so_already:  # later stages must not be lost for nothing
        for record in bar(records, "judging"):
            rows = _rows(paths, record)
            changes.add(rows, redecided(rows, new.filter.thresholds))
        answer = to_json(paths, changes, applied=False)
        return {**answer, "later": {}, "same_thresholds": True} if is_so_already else answer
    with run_lock(paths):
        records = _checked_records(paths, old, new)  # again, now that nobody else writes; all of them, before anything is removed
        answer = to_json(paths, changes, applied=True)
        removed = remove_stages(paths, LATER)
        stopped = _stopped(paths)
        stopped.pop(digest, None)  # the newest stands last
        write_json(paths.redecided, {name: to_dict(values) for name, values in {**stopped, digest: new.filter.thresholds}.items()})
        for record in bar(records, "deciding"):
            rows = _rows(paths, record)
            decided = redecided(rows, new.filter.thresholds)
            changes.add(rows, decided)
            _commit(paths, record, rows, decided, digest)
        write_bytes(paths.config, to_yaml(new).encode())
        paths.redecided.unlink()
    return {**to_json(paths, changes, applied=True), "later": answer["later"], "removed": removed}


def redecided(rows: Columns, thresholds: Thresholds) -> Columns:
    """Key, status and reason of the same rows as `decide` gives them now. Failed images stay failed: they have no measures."""
    reasons = [
        reason if status == "failed" else decide(measures, thresholds)
        for status, reason, measures in zip(rows["status"], rows["reason"], rows["measures"], strict=True)
    ]
    verdicts = zip(rows["status"], reasons, strict=True)
    status = ["failed" if before == "failed" else "kept" if reason is None else "dropped" for before, reason in verdicts]
    return {"key": rows["key"], "status": status, "reason": reasons}


def _rows(paths: RunPaths, record: DoneRecord) -> Columns:
    return read_columns(paths.units(STAGE, record.unit, "parquet"), _NEEDED, optional=True)  # where all failed nothing was measured


def _checked_records(paths: RunPaths, old: GenerationConfig, new: GenerationConfig) -> list[DoneRecord]:
    """Of the filtered units. Raises ContractError if there are none, or one is of neither config."""
    stopped = (replace(old, filter=replace(old.filter, thresholds=thresholds)) for thresholds in _stopped(paths).values())
    known = {stage_digests(config)[STAGE] for config in (old, new, *stopped)}
    units = paths.done_units(STAGE)
    if not units:
        raise ContractError(f"{paths.root}: no unit of {STAGE!r} is done; there is nothing to decide anew")
    records = []
    for unit in units:
        record = read_record(paths, STAGE, unit)
        assert record is not None, "listed a moment ago"
        if record.config_digest not in known:
            raise ContractError(
                f"{paths.done(STAGE, unit)} was made with a config that is neither {paths.config} nor the new one; "
                f"make it again with `passerby run {paths.typed} --redo {STAGE}`"
            )
        records.append(record)
    return records


def _num_others(records: list[DoneRecord], old: GenerationConfig) -> int:
    digest = stage_digests(old)[STAGE]
    return sum(record.config_digest != digest for record in records)


def _stopped(paths: RunPaths) -> dict[str, Thresholds]:
    """Config digest -> thresholds of each redecide that was killed since one has ended: their units are judged anew too."""
    if not paths.redecided.exists():
        return {}
    way_out = f"delete it; units that it explained must be made again then: `passerby run {paths.typed} --redo {STAGE}`"
    try:
        found = read_json(paths.redecided)
        if not isinstance(found, dict) or not all(isinstance(values, dict) for values in found.values()):
            raise ContractError(f"{paths.redecided} does not say what a redecide was to give; accepted: thresholds by config digest")
        return {known: build(Thresholds, values, str(paths.redecided)) for known, values in found.items()}
    except (ConfigError, ContractError) as err:
        raise ContractError(f"{err}; {way_out}") from err


def _commit(paths: RunPaths, record: DoneRecord, before: Columns, after: Columns, config_digest: str) -> None:
    """Record away, files, record: as everywhere, what has no record never happened. Where no image moves the files stay."""
    made = replace(record, config_digest=config_digest, code_version=code_version())
    if any(before[name] != after[name] for name in after):
        table, ledger = paths.units(STAGE, record.unit, "parquet"), paths.ledger(STAGE, record.unit)
        rows = [dict(zip(after, values, strict=True)) for values in zip(*after.values(), strict=True)]
        paths.done(STAGE, record.unit).unlink()
        replace_columns(table, after)
        write_rows(ledger, rows)
        files = {paths.relative(path): sha256_file(path) for path in (table, ledger)}
        made = replace(made, counts=Counts.of(rows), files=files)
    write_json(paths.done(STAGE, record.unit), made.to_json())


def _refuse_other_changes(old: GenerationConfig, new: GenerationConfig) -> None:
    here = replace(new.run, name=old.run.name, folder=old.run.folder)  # the run is where it lies now, whatever a file calls it
    aligned = replace(new, run=here, filter=replace(new.filter, thresholds=old.filter.thresholds))
    one, other = to_dict(old), to_dict(aligned)
    differing = [f"{section}.{name}" for section in one for name in one[section] if one[section][name] != other[section][name]]
    if differing:
        raise ConfigError(
            f"{', '.join(differing)} differ from the run's config.yaml; redecide changes filter.thresholds only, "
            "for anything else use `passerby run` with --redo or another run.name (for more pictures another run.seed too)"
        )


def to_json(paths: RunPaths, changes: Changes, applied: bool) -> dict[str, Any]:
    """What `redecide --json` prints. later: stage -> done units that are made again. same_thresholds: as in config.yaml and in all units;
    other_thresholds: units that have not those of config.yaml, because a redecide was stopped."""
    return {
        "run": str(paths.root),
        "applied": applied,
        "same_thresholds": False,
        "other_thresholds": changes.other_thresholds,
        "units": changes.units,
        "images": changes.images,
        "kept_before": changes.kept_before,
        "kept_after": changes.kept_after,
        "moves": [
            {"before": before or "kept", "after": after or "kept", "images": count, "examples": changes.examples[before, after]}
            for (before, after), count in changes.moves.most_common()
        ],
        "later": {name: len(units) for name in LATER if (units := paths.done_units(name))},
    }


def to_lines(answer: dict[str, Any]) -> list[str]:
    """The answer for people."""
    lines = [f"{answer['run']}: {answer['images']} images in {answer['units']} filtered units"]
    lines += [f"  {m['images']:>9}  {m['before']} -> {m['after']}   e.g. {', '.join(m['examples'])}" for m in answer["moves"]]
    lines.append(f"  kept: {answer['kept_before']} -> {answer['kept_after']}" + ("" if answer["moves"] else " (no image moves)"))
    later = ", ".join(f"{name} ({units} units)" for name, units in answer["later"].items())
    if (others := answer["other_thresholds"]) and not answer["applied"]:
        lines.append(f"  a redecide was stopped: {others} units have other thresholds than config.yaml")
    elif later and not answer["applied"] and not answer["moves"]:
        return [*lines, f"keep the old thresholds: --yes would gain nothing, and remove {later}, to be made again"]
    if later:
        lines.append(f"  {'removed, to be made again' if answer['applied'] else 'will have to be made again'}: {later}")
    if answer["same_thresholds"]:
        return [*lines, "nothing to do; name other thresholds with --set filter.thresholds.X=V"]
    done = f"done; go on with `passerby run {shlex.quote(answer['run'])}`"
    return [*lines, done if answer["applied"] else "nothing was changed; add --yes to do it"]
