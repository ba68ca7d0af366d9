"""keys.jsonl beside an export in the layout of MALS: where each image comes from, which the four published fields cannot say.

Written by `export_mals` in the order of the images, read back by `import_mals` list by list. A download of MALS has none.
"""

import json
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import KEY_PATTERN, SampleMeta, half_character

FILE = "keys.jsonl"
IMPORTED = "MALS"  # the model that stands for "made elsewhere" in generator and captioner of a sample
_KINDS = {"image_id": str, "prompt": str, "pid": int, "source": str, "licence": str, "generator": dict, "captioner": dict}
_MAY_LACK = {"key": str, "seed": int}  # seed: exports had none at first
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

    Keys count only if every line has one and no two the same: those of exports that were put together do not.
    """

    def __init__(self, path: Path) -> None:
        """Raises ContractError naming the first line that lacks something."""
        self._path = path
        self._spans: dict[str, list[tuple[int, int]]] = {}  # part -> first and last byte of its stretches of lines
        keys = array("q")  # 8 bytes each
        start = 0
        try:
            with open(path, "rb") as file:
                for number, line in enumerate(file, 1):
                    values = _parsed(line, f"{path}, line {number}")
                    self._extend(_part(values["image_id"]), start, start + len(line))
                    keys.append(_key_number(values.get("key", "")))
                    start += len(line)
        except OSError as err:
            raise ContractError(f"{path} cannot be read ({err.strerror})") from err
        self._has_keys = -1 not in keys and len(np.unique(keys)) == len(keys)

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
                        key = values["key"] if self._has_keys else None
                        fields = {name: values[name] for name in _FIELDS}
                        found[values["image_id"]] = Origin(**fields, key=key, seed=values.get("seed", 0))
        return found

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


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    way_out = "export again, or remove the file to import the samples as published by MALS"
    try:
        values = json.loads(line)
    except ValueError as err:
        raise ContractError(f"{where} is not JSON ({err}); {way_out}") from err
    wrong = [name for name, kind in _KINDS.items() if not isinstance(values, dict) or type(values.get(name)) is not kind]
    wrong += [name for name, kind in _MAY_LACK.items() if isinstance(values, dict) and type(values.get(name, kind())) is not kind]
    if wrong:
        accepted = ", ".join(f"{name} ({kind.__name__})" for name, kind in (_KINDS | _MAY_LACK).items())
        raise ContractError(f"{where}: {', '.join(wrong)} missing or of another type; accepted: {accepted}; {way_out}")
    if b"\\u" in line and not is_whole_text(json.dumps(values, ensure_ascii=False)):  # what an export writes has no escapes
        raise ContractError(f"{where} holds a text that was cut inside a character; {way_out}")
    return values
