"""keys.jsonl beside an export in the layout of MALS: where each image comes from, which the four published fields cannot say.

Written by `export_mals` in the order of the images, read back by `import_mals` list by list. A download of MALS has none.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import SampleMeta, half_character

FILE = "keys.jsonl"
IMPORTED = "MALS"  # the model that stands for "made elsewhere" in generator and captioner of a sample
_KINDS = {"image_id": str, "prompt": str, "pid": int, "source": str, "licence": str, "generator": dict, "captioner": dict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The fields of a sample that say where it comes from, as SampleMeta has them."""

    prompt: str
    pid: int
    source: str
    licence: str
    generator: dict[str, Any]
    captioner: dict[str, Any]


def origin_line(image_id: str, meta: SampleMeta) -> bytes:
    """One line of keys.jsonl; `key` says which sample of the exported shards the image is."""
    origin = {"image_id": image_id, "key": meta.key} | {name: getattr(meta, name) for name in _KINDS if name != "image_id"}
    return json.dumps(origin, ensure_ascii=False).encode() + b"\n"


class Origins:
    """Reads keys.jsonl: the places of the lines in memory, the lines of a list when they are asked for."""

    def __init__(self, path: Path) -> None:
        """Raises ContractError naming the first line that lacks something."""
        self._path = path
        self._spans: dict[str, list[tuple[int, int]]] = {}  # part -> first and last byte of its stretches of lines
        start = 0
        try:
            with open(path, "rb") as file:
                for number, line in enumerate(file, 1):
                    self._extend(_part(_parsed(line, f"{path}, line {number}")["image_id"]), start, start + len(line))
                    start += len(line)
        except OSError as err:
            raise ContractError(f"{path} cannot be read ({err.strerror})") from err

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
                        found[values["image_id"]] = Origin(**{name: values[name] for name in _KINDS if name != "image_id"})
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


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    way_out = "export again, or remove the file to import the samples as published by MALS"
    try:
        values = json.loads(line)
    except ValueError as err:
        raise ContractError(f"{where} is not JSON ({err}); {way_out}") from err
    wrong = [name for name, kind in _KINDS.items() if not isinstance(values, dict) or type(values.get(name)) is not kind]
    if wrong:
        accepted = ", ".join(f"{name} ({kind.__name__})" for name, kind in _KINDS.items())
        raise ContractError(f"{where}: {', '.join(wrong)} missing or of another type; accepted: {accepted}; {way_out}")
    if b"\\u" in line and not is_whole_text(json.dumps(values, ensure_ascii=False)):  # what an export writes has no escapes
        raise ContractError(f"{where} holds a text that was cut inside a character; {way_out}")
    return values
