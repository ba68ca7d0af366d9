"""keys.jsonl beside an export in the layout of MALS: where each image comes from, which the four published fields cannot say.

Written by `export_mals` in the order of the images, read back by `import_mals` list by list. A download of MALS has none.
"""

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import KEY_PATTERN, SampleMeta, half_character
from pipeline.lint_meta import PID_LIMIT, SEED_LIMIT

FILE = "keys.jsonl"
NO_ORIGIN = "missing_origin"  # reason of a record
NO_ORIGIN_MEANS = f"{NO_ORIGIN}: no line of {FILE} has its image_id; append the {FILE} of the export that it is from"
IMPORTED = "MALS"  # the model that stands for "made elsewhere" in generator and captioner of a sample
_KINDS = {"image_id": str, "prompt": str, "pid": int, "source": str, "licence": str, "generator": dict, "captioner": dict}
_MAY_LACK = {"key": str, "seed": int}  # seed: exports had none at first
_WAY_OUT = "export again, or remove the file to import the samples as published by MALS"
_FIELDS = [name for name in _KINDS if name != "image_id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The fields of a sample that say where it comes from, as SampleMeta has them."""

    prompt: str
    pid: int
    source: str
    licence: str
    generator: dict[str, Any]
    captioner: dict[str, Any]
    key: str | None = None  # None: a new one
    seed: int = 0  # 0: not known


def origin_line(image_id: str, meta: SampleMeta) -> bytes:
    """One line of keys.jsonl; `key` says which sample of the exported shards the image is."""
    origin = {"image_id": image_id} | {name: getattr(meta, name) for name in (*_MAY_LACK, *_FIELDS)}
    return json.dumps(origin, ensure_ascii=False).encode() + b"\n"


class Origins:
    """Reads keys.jsonl: the places of the lines in memory, the lines of a list when they are asked for.

    Keys and pid count only if every line has a key, no two images have the same, and no pid has two prompts: those of exports that were
    put together, which begin at 0 in each, do not. Their persons are then numbered anew, one for each (pid, prompt), or for each image
    without a prompt. A line that is repeated counts once.

    new_keys: why keys and pid do not count, None if they do.
    """

    def __init__(self, path: Path) -> None:
        """Raises ContractError naming an empty file, the first line that is wrong, or two that say different things of one image."""
        self._path = path
        self._spans: dict[str, list[tuple[int, int]]] = {}  # part -> first and last byte of its stretches of lines
        self._persons: dict[int, int] = {}  # hash of what makes a person -> new pid
        marks = array("q")  # five a line, 8 bytes each
        start = 0
        try:
            with open(path, "rb") as file:
                for number, line in enumerate(file, 1):
                    values = _parsed(line, f"{path}, line {number}")
                    self._extend(_part(values["image_id"]), start, start + len(line))
                    marks.extend(_marks(line, values))
                    start += len(line)
        except OSError as err:
            raise ContractError(f"{path} cannot be read ({err.strerror})") from err
        if not marks:
            raise ContractError(f"{path} is empty; {_WAY_OUT}")
        self.new_keys = _conflict(path, np.asarray(marks).reshape(-1, 5))

    @classmethod
    def beside(cls, folder: Path) -> Self | None:
        """The origins of an export, None for a folder that has none."""
        return cls(folder / FILE) if (folder / FILE).exists() else None

    def of(self, image_ids: Iterable[Any]) -> dict[str, Origin]:
        """image_id -> origin, for these images at least."""
        found = {}
        with open(self._path, "rb") as file:
            for part in dict.fromkeys(_part(image_id) for image_id in image_ids):
                for first, last in self._spans.get(part, ()):
                    file.seek(first)
                    for values in map(json.loads, file.read(last - first).splitlines()):
                        key = values["key"] if self.new_keys is None else None
                        fields = {name: values[name] for name in _FIELDS} | {"pid": self._pid(values)}
                        found[values["image_id"]] = Origin(**fields, key=key, seed=values.get("seed", 0))
        return found

    def _pid(self, values: dict[str, Any]) -> int:
        pid: int = values["pid"]
        if self.new_keys is None:
            return pid
        return self._persons.setdefault(hash((pid, values["prompt"] or values["image_id"])), len(self._persons))

    def _extend(self, part: str, first: int, last: int) -> None:
        spans = self._spans.setdefault(part, [])
        if spans and spans[-1][1] == first:
            first, _ = spans.pop()
        spans.append((first, last))


def is_whole_text(value: object) -> bool:
    """Whether it is text, and none that was cut inside a character."""
    return isinstance(value, str) and half_character(value) is None


def _part(image_id: object) -> str:
    """Which list an image stands in: "c_g_a_0" of "c_g_a_0_17"."""
    return str(image_id).rpartition("_")[0]


def _key_number(key: str) -> int:
    """-1 for what is no key."""
    return int(key.replace("_", "")) if KEY_PATTERN.fullmatch(key) else -1


def _marks(line: bytes, values: dict[str, Any]) -> tuple[int, ...]:
    """What is compared between lines: the line, image_id, key, pid, and pid with prompt, as numbers."""
    pid = values["pid"]
    return hash(line.rstrip()), hash(values["image_id"]), _key_number(values.get("key", "")), hash(pid), hash((pid, values["prompt"]))


def _conflict(path: Path, marks: npt.NDArray[np.int64]) -> str | None:
    """Why the keys do not count. marks: (lines, 5). Raises ContractError for two lines of one image."""
    lines = np.sort(np.unique(marks[:, 0], return_index=True)[1])  # each once
    _, images, keys, pids, persons = marks[lines].T
    if pair := _first_pair(images):
        first, second = (int(lines[place]) + 1 for place in pair)
        with open(path, "rb") as file:
            image_id = json.loads(next(islice(file, first - 1, None)))["image_id"]
        raise ContractError(
            f"{path}, lines {first} and {second} differ, both of image_id {image_id!r}; accepted: one line for each image; import exports "
            "that share names into folders of their own, and train on a list of these"
        )
    if -1 in keys:
        return f"line {lines[np.argmax(keys == -1)] + 1} of {path} has no key of the form 000000123_00"
    if pair := _first_pair(keys):
        return f"lines {lines[pair[0]] + 1} and {lines[pair[1]] + 1} of {path} have the same key"
    each = np.sort(np.unique(persons, return_index=True)[1])
    if pair := _first_pair(pids[each]):
        return f"lines {lines[each[pair[0]]] + 1} and {lines[each[pair[1]]] + 1} of {path} have the same pid with two prompts"
    return None


def _first_pair(values: npt.NDArray[np.int64]) -> tuple[int, int] | None:
    """The first place whose value stood before, after the place before it with that value."""
    order = np.argsort(values, kind="stable")
    same = np.flatnonzero(values[order[1:]] == values[order[:-1]])
    if not len(same):
        return None
    at = same[np.argmin(order[same + 1])]
    return int(order[at]), int(order[at + 1])


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError as err:
        raise ContractError(f"{where} is not JSON ({err}); {_WAY_OUT}") from err
    wrong = [name for name, kind in _KINDS.items() if not isinstance(values, dict) or type(values.get(name)) is not kind]
    wrong += [name for name, kind in _MAY_LACK.items() if isinstance(values, dict) and type(values.get(name, kind())) is not kind]
    if wrong:
        accepted = ", ".join(f"{name} ({kind.__name__})" for name, kind in (_KINDS | _MAY_LACK).items())
        raise ContractError(f"{where}: {', '.join(wrong)} missing or of another type; accepted: {accepted}; {_WAY_OUT}")
    pid, seed = values["pid"], values.get("seed", 0)
    if abs(pid) >= PID_LIMIT or not 0 <= seed < SEED_LIMIT:
        raise ContractError(f"{where}: pid {pid}, seed {seed}; accepted: pid below 2**48, seed from 0 to below 2**63; {_WAY_OUT}")
    if b"\\u" in line and not is_whole_text(json.dumps(values, ensure_ascii=False)):  # what an export writes has no escapes
        raise ContractError(f"{where} holds a text that was cut inside a character; {_WAY_OUT}")
    return values
