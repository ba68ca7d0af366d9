"""CUHK-PEDES, ICFG-PEDES and RSTPReid: the files as their authors publish them, and APTM's processed lists.

Raw: one file with all splits, a list of {split, captions, file_path | img_path, id}. Processed: one list per split of {image, caption,
image_id}; an entry of the training list has one caption, an entry of a test list all captions of its picture. Both give the same records.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune.datasets.records import SPLITS, Record, Split, captions_of, field, merge, picture_folder, read_entries, safe_name
from pipeline.contracts.errors import ContractError


@dataclass(frozen=True, slots=True)
class PersonSet:
    """Where a benchmark's files lie below its folder."""

    title: str  # "CUHK-PEDES"
    raw: str  # file with all splits
    processed: str  # "cuhk_{split}.json"
    splits: tuple[str, ...] = SPLITS

    def read(self, root: Path, split: str) -> Split:
        """Raises ContractError if neither form is there, or naming the entry that is not of the form."""
        if split not in self.splits:
            raise ContractError(f"{self.title} has no {split} split; accepted: {', '.join(self.splits)}")
        path = self.annotation(root, split)
        entries = self._raw(path, split) if path.name == self.raw else self._processed(path)
        records = merge(entries, path)
        if not records:
            raise ContractError(f"{path}: no entry of the {split} split")
        return Split(name=split, source=path, images=picture_folder(self.image_folders(root), records), records=records)

    def annotation(self, root: Path, split: str) -> Path:
        """The file that says what is in a split: raw if it is there, else processed."""
        processed = self.processed.format(split=split)
        candidates = [root / self.raw, root / self.title / self.raw, root / processed, root / "finetune" / processed]
        for path in candidates:
            if path.is_file():
                return path
        raise ContractError(f"{self.title}: found neither {root / self.raw} (as published) nor {root / processed} (APTM's); put one there")

    def image_folders(self, root: Path) -> list[Path]:
        """Where pictures may lie; the first is where they belong."""
        inside = ("imgs", ".", f"images/{self.title}/imgs", f"images/{self.title}", "images", f"{self.title}/imgs", self.title)
        return [root / name for name in inside]

    def _raw(self, path: Path, split: str) -> Iterator[Record]:
        for number, entry in enumerate(read_entries(path), start=1):
            where = f"{path}: entry {number}"
            found = field(entry, "split", str, where)
            if found not in SPLITS:
                raise ContractError(f"{where}: split {found!r}; accepted: {', '.join(SPLITS)}")
            if found == split:
                image = field(entry, "file_path" if "file_path" in entry else "img_path", str, where)
                captions = captions_of(field(entry, "captions", (list, str), where), where)
                yield Record(image=safe_name(image, where), identity=str(field(entry, "id", (int, str), where)), captions=captions)

    def _processed(self, path: Path) -> Iterator[Record]:
        for number, entry in enumerate(read_entries(path), start=1):
            where = f"{path}: entry {number}"
            image, captions = field(entry, "image", str, where), captions_of(field(entry, "caption", (str, list), where), where)
            yield Record(image=safe_name(image, where), identity=str(field(entry, "image_id", (int, str), where)), captions=captions)


CUHK_PEDES = PersonSet("CUHK-PEDES", "reid_raw.json", "cuhk_{split}.json")
ICFG_PEDES = PersonSet("ICFG-PEDES", "ICFG-PEDES.json", "icfg_{split}.json", ("train", "test"))
RSTPREID = PersonSet("RSTPReid", "data_captions.json", "rstp_{split}.json")
