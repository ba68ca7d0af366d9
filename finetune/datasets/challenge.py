"""Label, query and gold files of the retrieval challenge -> records, strictly: every bad line is named with its number and its problem.

Layout of a data folder (the organisers', and that of the miniature): `{train,val}/{split}_images/*.jpg` beside `{split}_label.txt`;
`test/test_images/*.jpg` beside `test/test_text.txt`, and `test/test_gt.txt` where the answers are known.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.datasets.records import PEDESTRIAN, VEHICLE
from pipeline.contracts.challenge import BITS_21, VehicleTag, parse_tag
from pipeline.contracts.challenge_sentences import mentioned
from pipeline.contracts.errors import ContractError

MAX_LISTED_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class Pedestrian:
    """One line about a pedestrian. bits: 21 of 0 or 1 in the order of BITS_21; they say more than the text does."""

    image: str
    bits: tuple[int, ...]
    text: str
    kind = PEDESTRIAN

    @property
    def identity(self) -> str:
        """Lines of one attribute vector are one class."""
        return ",".join(map(str, self.bits))

    @property
    def mentioned(self) -> tuple[int, ...]:
        """What the text itself says of the bits: 1, 0 or -1 (not said)."""
        return mentioned(self.text)


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One line about a vehicle."""

    image: str
    tag: VehicleTag
    text: str
    kind = VEHICLE

    @property
    def identity(self) -> str:
        """Lines of one tag are one class."""
        return str(self.tag)


Record = Pedestrian | Vehicle


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line (1-based). name: one of field_count, empty_image_name, unsafe_image_name, duplicate_image_name, bit_count,
    bit_value, missing_final_stop, unknown_tag, empty_text."""

    line: int
    name: str
    detail: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.name}: {self.detail}"


class _BadLineError(Exception):
    def __init__(self, name: str, detail: str) -> None:
        self.name, self.detail = name, detail


def read_labels(path: Path) -> list[Record]:
    """All records of a label file, in file order. Raises ContractError naming every bad line (the first ten in full)."""
    records, problems = check_lines(_lines(path))
    if problems:
        shown = "\n  ".join(map(str, problems[:MAX_LISTED_PROBLEMS]))
        more = f"\n  and {len(problems) - MAX_LISTED_PROBLEMS} more" if len(problems) > MAX_LISTED_PROBLEMS else ""
        raise ContractError(f"{path}: {len(problems)} bad lines; accepted: image$21 bits or tag.$text\n  {shown}{more}")
    return records


def check_lines(lines: Sequence[str]) -> tuple[list[Record], list[Problem]]:
    """Records of the good lines and one problem for each bad one. Image names must be unique among all lines."""
    records: list[Record] = []
    problems: list[Problem] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = _parse(line)
            if record.image in seen:
                raise _BadLineError("duplicate_image_name", f"{record.image!r} is also on line {seen[record.image]}")
        except _BadLineError as bad:
            problems.append(Problem(number, bad.name, bad.detail))
        else:
            seen[record.image] = number
            records.append(record)
    return records, problems


def read_queries(path: Path) -> list[str]:
    """Query texts in file order; texts may repeat. Raises ContractError for an empty line or file."""
    queries = _lines(path)
    if empty := [i for i, text in enumerate(queries, start=1) if not text.strip()]:
        raise ContractError(f"{path}: line {empty[0]} is empty; accepted: one query text per line")
    return queries


def read_gold(path: Path) -> list[tuple[str, list[str]]]:
    """`text$image$image...` lines -> (text, positive image names), in file order. Raises ContractError for a line without an image."""
    gold = []
    for number, line in enumerate(_lines(path), start=1):
        text, *images = line.split("$")
        if not text or not images or not all(images):
            raise ContractError(f"{path}: line {number} holds {line[:80]!r}; accepted: text$image$image...")
        gold.append((text, images))
    return gold


def labels_path(root: Path, split: str) -> Path:
    """The lines of a split with answers, train or val."""
    return root / split / f"{split}_label.txt"


def images_folder(root: Path, split: str) -> Path:
    """The pictures of a split, test too."""
    return root / split / f"{split}_images"


def queries_path(root: Path) -> Path:
    """The queries of the test split."""
    return root / "test" / "test_text.txt"


def gold_path(root: Path) -> Path:
    """Their answers, where they are known."""
    return root / "test" / "test_gt.txt"


def list_gallery(root: Path) -> list[str]:
    """Sorted names of the test pictures. Raises ContractError if there is none."""
    folder = images_folder(root, "test")
    names = jpeg_names(folder)
    if not names:
        raise ContractError(f"{folder} holds no .jpg; it should hold the pictures of the test split")
    return names


def jpeg_names(folder: Path) -> list[str]:
    """Sorted; empty where there is no such folder."""
    return sorted(path.name for path in folder.glob("*") if path.suffix.lower() in (".jpg", ".jpeg"))


def check_pictures(folder: Path, names: Sequence[str], where: Path) -> None:
    """Raises ContractError if pictures that `where` names are not in the folder."""
    present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if absent := [name for name in names if name not in present]:
        raise ContractError(f"{folder} lacks {len(absent)} of the {len(names)} pictures that {where} names, the first is {absent[0]}")


def kind_of_image(name: str) -> str | None:
    """By the published naming: six digits are a pedestrian, ten letters or vehicle_0000012 a vehicle; None for any other name.

    The organisers may rename a board's files, so None means: search it for both kinds of query.
    """
    stem = re.sub(r"\.jpe?g$", "", name, flags=re.IGNORECASE)
    if re.fullmatch(r"\d{6}", stem):
        return PEDESTRIAN
    return VEHICLE if re.fullmatch(r"[a-z]{10}|vehicle_\d{7}", stem) else None


def _lines(path: Path) -> list[str]:
    """Lines of a UTF-8 file without their ends; the last one may lack its newline. Only \\n (or \\r\\n) ends a line."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as err:
        raise ContractError(f"{path} does not exist") from err
    except OSError as err:
        raise ContractError(f"{path} cannot be read: {err.strerror}; give a text file") from err
    except UnicodeDecodeError as err:
        raise ContractError(f"{path} is not UTF-8 (byte {err.start}); convert it first") from err
    if not text.strip():
        raise ContractError(f"{path} is empty")
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")]


def _parse(line: str) -> Record:
    fields = line.split("$")
    if len(fields) != 3:
        raise _BadLineError("field_count", f"{len(fields)} fields, accepted: 3 (image$attributes$text), found {line[:60]!r}")
    image, attributes, text = fields
    if not image.strip():
        raise _BadLineError("empty_image_name", "the first field is empty")
    if "/" in image or "\\" in image or image in (".", ".."):
        raise _BadLineError("unsafe_image_name", f"{image[:60]!r} is a path, accepted: a file name")
    if not text.strip():
        raise _BadLineError("empty_text", "the third field is empty")
    if not text.endswith("."):
        raise _BadLineError("missing_final_stop", f"the text ends with {text[-12:]!r}")
    return Pedestrian(image, _bits(attributes), text) if _is_bits(attributes) else Vehicle(image, _tag(attributes), text)


def _is_bits(attributes: str) -> bool:
    """A tag holds neither commas nor digits, so a list that is too short, too long or misspelt is still told from a tag."""
    return "," in attributes or any(c.isdigit() for c in attributes)


def _bits(attributes: str) -> tuple[int, ...]:
    values = attributes.split(",")
    if len(values) != len(BITS_21):
        raise _BadLineError("bit_count", f"{len(values)} bits, accepted: {len(BITS_21)}")
    if bad := [f"bit {i} ({BITS_21.names[i]}) is {value!r}" for i, value in enumerate(values) if value not in ("0", "1")]:
        raise _BadLineError("bit_value", f"{bad[0]}, accepted: 0 or 1")
    return tuple(map(int, values))


def _tag(attributes: str) -> VehicleTag:
    if not attributes.endswith("."):
        raise _BadLineError("missing_final_stop", f"the tag {attributes!r} has none")
    try:
        return parse_tag(attributes)
    except ContractError as err:
        raise _BadLineError("unknown_tag", str(err)) from err
