"""The lists of MALS record by record: where each comes from, or why it becomes no sample. One list in memory at a time, no picture."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

from generation.exchange.origins import IMPORTED, NO_ORIGIN, Origin, Origins, is_whole_text
from generation.split import prompt_identity
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json

PARTS = ("4x", *(f"{source}_g_a{number}" for source in ("c", "i") for number in ("", *(f"_{i}" for i in range(44)))))
FIELDS = ("image", "caption", "image_id", "label")
LICENCE = "MALS: research only"
_SOURCES = {"c": "MALS, prompts of CUHK-PEDES", "i": "MALS, prompts of ICFG-PEDES"}
_LIST_NAME = re.compile(r"g_(\w+)_attrs\.json")


@dataclass(frozen=True, slots=True)
class Record:
    """One entry of a list. values: all FIELDS, as they should be, unless `origin` is the reason why it becomes no sample."""

    list_name: str
    number: int  # in its list, from 0
    index: int  # over all lists, from 0
    values: Any
    origin: Origin | str

    @property
    def image(self) -> str:
        """Its picture below the folder, however the path is spelled."""
        return str(PurePosixPath(self.values["image"]))

    @property
    def text(self) -> str | None:
        """What decides its split, the prompt or else the caption: equal texts are on one side. None for no sample."""
        return None if isinstance(self.origin, str) else prompt_identity(self.origin.prompt or self.values["caption"])


def find_lists(folder: Path) -> list[Path]:
    """The lists in gene_attrs (or in the folder itself), in the published order, others after them by name."""
    for place in (folder / "gene_attrs", folder):
        found = {match[1]: path for path in sorted(place.glob("*.json")) if (match := _LIST_NAME.fullmatch(path.name))}
        if found:
            return [found[part] for part in (*PARTS, *sorted(set(found) - set(PARTS))) if part in found]
    if not folder.exists():
        raise ContractError(f"{folder} does not exist; accepted: the folder of a MALS download")
    raise ContractError(f"{folder} holds no g_*_attrs.json, in gene_attrs or beside it; accepted: the folder of a MALS download")


def read_records(lists: Sequence[Path], origins: Origins | None) -> Iterator[Record]:
    """All records of all lists. origins: None for what MALS has published. Raises ContractError for a file that is no list."""
    index = count()
    for path in lists:
        entries = read_json(path)
        if not isinstance(entries, list):
            raise ContractError(f"{path} holds a {type(entries).__name__}; accepted: a list of records with {', '.join(FIELDS)}")
        known = origins.of(entry.get("image_id") for entry in entries if isinstance(entry, dict)) if origins else None
        for (number, values), place in zip(enumerate(entries), index, strict=False):  # in this order: none is taken at the end of a list
            origin = _problem(values) or (_published(values, place, path) if known is None else known.get(values["image_id"]))
            yield Record(path.name, number, place, values, origin or NO_ORIGIN)


def _problem(values: Any) -> str | None:
    """What is wrong with a record, as far as it says itself."""
    if not isinstance(values, dict) or not values.keys() >= set(FIELDS):
        return "bad_record"
    label, caption = values["label"], values["caption"]
    if not isinstance(label, list) or len(label) != len(PERSON_27) or any(type(v) is not int or v not in (-1, 0, 1) for v in label):
        return "bad_label"  # 1.0 and true equal 1, but would be written to the shards as they are
    if not isinstance(caption, str) or not caption.strip():
        return "empty_caption"
    if not is_whole_text(caption):
        return "bad_caption"
    if not isinstance(values["image_id"], int) and not is_whole_text(values["image_id"]):
        return "bad_image_id"
    return None if _is_inside(values["image"]) else "missing_image"


def _is_inside(name: object) -> bool:
    """Whether it names something below the folder; a name that leads out of it is as good as missing."""
    return isinstance(name, str) and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts


def _published(values: dict[str, Any], index: int, path: Path) -> Origin:
    """What is known of an image of MALS. Its prompt is not published, and every image is its own identity."""
    part = path.name.removeprefix("g_").removesuffix("_attrs.json")
    generator = {"model": IMPORTED, "image_id": values["image_id"]}
    source = _SOURCES.get(part[0], "MALS")
    return Origin(prompt="", pid=index, source=source, licence=LICENCE, generator=generator, captioner={"model": IMPORTED})
