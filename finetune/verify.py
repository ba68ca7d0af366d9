"""`passerby verify-data NAME FOLDER`: what a benchmark's folder lacks, where it belongs, and what is wrong with what is there."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from PIL import Image

from finetune.datasets.catalog import DataSet, Sizes, data_set
from finetune.datasets.records import PEDESTRIAN, SPLITS, Split
from pipeline.contracts.challenge import BITS_21
from pipeline.contracts.challenge_sentences import mentioned
from pipeline.contracts.errors import ContractError
from pretrain.pictures import UNREADABLE, as_rgb, reason

MAX_LISTED = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """kind: bad_annotation, missing_picture, unreadable_picture, count, wrong_bits, leak_name, leak_identity, leak_content, leak_caption.

    A caption that two splits share is a note (harm: False): people dress alike. The rest is harm.
    """

    kind: str
    split: str
    text: str
    harm: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """All that was found. counts: split -> images, captions, identities as read."""

    name: str
    folder: Path
    counts: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        return not any(finding.harm for finding in self.findings)

    def to_json(self) -> dict[str, Any]:
        findings = [asdict(finding) for finding in self.findings]
        return {"data_set": self.name, "folder": str(self.folder), "sound": self.sound, "counts": self.counts, "findings": findings}


def verify(name: str, folder: Path, pictures: bool = True) -> Verdict:
    """Read every split and, unless told not to, every picture. Raises ConfigError for an unknown data set name."""
    chosen = data_set(name)
    splits, findings = _read(chosen, folder)
    digests: dict[str, dict[str, str]] = {}
    for split in splits:
        found, digests[split.name] = _check_pictures(split) if pictures else ([], {})
        findings += found + _check_counts(split, chosen.published.get(split.name)) + _contradictions(split)
    for one, other in combinations(splits, 2):
        findings += _leaks(one, other, digests, chosen.disjoint)
    counts = {s.name: {"images": len(s.records), "captions": s.num_captions, "identities": s.num_identities} for s in splits}
    return Verdict(name, folder, counts, tuple(findings))


def _read(chosen: DataSet, folder: Path) -> tuple[list[Split], list[Finding]]:
    splits, findings = [], []
    try:
        names = chosen.splits(folder)
    except ContractError as err:
        return [], [Finding("bad_annotation", "", str(err))]
    if not names:
        findings.append(Finding("bad_annotation", "", f"{folder}: no line of any split; accepted: at least one"))
    for name in (split for split in SPLITS if split in names):
        try:
            splits.append(chosen.read(folder, name))
        except ContractError as err:
            findings.append(Finding("bad_annotation", name, str(err)))
    return splits, findings


def _check_pictures(split: Split) -> tuple[list[Finding], dict[str, str]]:
    """Findings, and sha256 of the bytes -> name of every readable picture."""
    missing, broken, digests = [], [], {}
    for record in split.records:
        path = split.images / record.image
        try:
            data = path.read_bytes()
            with Image.open(io.BytesIO(data)) as image:
                as_rgb(image)
        except FileNotFoundError:
            missing.append(record.image)
        except UNREADABLE as err:
            broken.append(f"{path}: {reason(err)}")
        else:
            digests[hashlib.sha256(data).hexdigest()] = record.image
    findings = []
    if missing:
        text = (
            f"{len(missing)} of the {len(split.records)} pictures that {split.source} names are missing; they belong into {split.images}: "
        )
        findings.append(Finding("missing_picture", split.name, text + _some(missing)))
    if broken:
        findings.append(Finding("unreadable_picture", split.name, f"{len(broken)} pictures cannot be read: {_some(broken)}"))
    return findings, digests


def _check_counts(split: Split, published: Sizes | None) -> list[Finding]:
    if published is None:
        return []
    found = {"images": len(split.records), "captions": split.num_captions, "identities": split.num_identities}
    wrong = [(name, value, found[name]) for name, value in asdict(published).items() if value is not None and value != found[name]]
    return [Finding("count", split.name, f"{split.source} has {have} {name}, published are {value}") for name, value, have in wrong]


def _contradictions(split: Split) -> list[Finding]:
    """Label lines of the challenge whose sentence says a bit is set that is not. There is none in the published ones."""
    if split.space is not BITS_21:
        return []
    wrong = []
    for record in split.records:
        if record.kind == PEDESTRIAN:
            said = zip(BITS_21.names, mentioned(record.captions[0]), record.labels, strict=True)
            wrong += [f"{record.image} {name}" for name, says, has in said if says == 1 and has == 0]
    text = f"{len(wrong)} bits of {split.source} are 0 although the text of the line says 1: {_some(wrong)}"
    return [Finding("wrong_bits", split.name, text)] if wrong else []


def _leaks(one: Split, other: Split, digests: dict[str, dict[str, str]], disjoint: bool) -> list[Finding]:
    where, findings = f"{one.name}+{other.name}", []
    if one.images == other.images and (names := _shared((r.image for r in one.records), (r.image for r in other.records))):
        findings.append(Finding("leak_name", where, f"{len(names)} pictures are in both splits: {_some(names)}"))
    if disjoint and (people := _shared((r.identity for r in one.records), (r.identity for r in other.records))):
        findings.append(Finding("leak_identity", where, f"{len(people)} identities are in both splits: {_some(people)}"))
    left, right = digests.get(one.name, {}), digests.get(other.name, {})
    if same := sorted(f"{left[key]} = {right[key]}" for key in left.keys() & right.keys()):
        findings.append(Finding("leak_content", where, f"{len(same)} pictures have the same bytes in both splits: {_some(same)}"))
    if disjoint and (texts := _shared((c for r in one.records for c in r.captions), (c for r in other.records for c in r.captions))):
        findings.append(Finding("leak_caption", where, f"{len(texts)} captions stand in both splits: {_some(texts[:3])}", harm=False))
    return findings


def _shared(one: Iterable[str], other: Iterable[str]) -> list[str]:
    return sorted(set(one) & set(other))


def _some(items: list[str]) -> str:
    more = f" and {len(items) - MAX_LISTED} more" if len(items) > MAX_LISTED else ""
    return ", ".join(items[:MAX_LISTED]) + more
