"""PA-100K: attributes without captions, from `annotation.mat` as published or from APTM's JSON lists.

The prompts are those of the published APTM, slips included ("a glasses", LowerStripe that speaks of upper clothes): they are part of the
model. The columns of annotation.mat are matched by name, never by position.
"""

from pathlib import Path
from typing import Any

import numpy as np

from finetune.datasets.records import SPLITS, Record, Split, field, picture_folder, read_entries, safe_name
from pipeline.contracts.attributes import Attribute, AttributeSpace
from pipeline.contracts.errors import ContractError

TITLE = "PA-100K"
_UPPER = "on the upper clothes of the person"
_PROMPTS = {  # PA-100K's name: (label 0, label 1)
    "Female": ("the person is a man", "the person is a woman"),
    "AgeOver60": ("the person is no more than 60 years old", "the person is older than 60 years old"),
    "Age18-60": ("the person is a young or old one", "the person is of mid age, between 18 and 60 years old"),
    "AgeLess18": ("the person is older than 18", "the person is a baby or a teenager, younger than 18"),
    "Front": ("the picture is not the front of the person", "the picture shows the front of the person"),
    "Side": ("the picture is not the side of the person", "the picture shows the side of the person"),
    "Back": ("the picture is not the back of the person", "the picture shows the back of the person"),
    "Hat": ("a person without a hat", "a person with a hat"),
    "Glasses": ("a person without a glasses", "a person with a glasses"),
    "HandBag": ("a person without a handbag", "a person with a handbag"),
    "ShoulderBag": ("a person without a shoulder bag", "a person with a shoulder bag"),
    "Backpack": ("a person without a backpack", "a person with a backpack"),
    "HoldObjectsInFront": ("the person does not hold an object in front", "the person hold an object in front"),
    "ShortSleeve": ("the person does not wear short sleeved upper clothes", "the person wears short sleeved upper clothes"),
    "LongSleeve": ("the person does not wear long sleeved upper clothes", "the person wears long sleeved upper clothes"),
    "UpperStride": (f"there is no stride {_UPPER}", f"there is stride {_UPPER}"),
    "UpperLogo": (f"there is no logo {_UPPER}", f"there is logo {_UPPER}"),
    "UpperPlaid": (f"there is no plaid {_UPPER}", f"there is plaid {_UPPER}"),
    "UpperSplice": (f"there is no splice {_UPPER}", f"there is splice {_UPPER}"),
    "LowerStripe": (f"there is no stripe {_UPPER}", f"there is stripe {_UPPER}"),
    "LowerPattern": ("there is no pattern on the lower part of the person", "there is pattern on the lower part of the person"),
    "LongCoat": ("the person does not wear long coat", "the person wears long coat"),
    "Trousers": ("the person does not wear trousers", "the person wears trousers"),
    "Shorts": ("the person does not wear shorts", "the person wears shorts"),
    "Skirt&Dress": ("the person does not wear a skirt or a dress", "the person wears a skirt or a dress"),
    "boots": ("the person does not wear boots", "the person wears boots"),
}
PA_26 = AttributeSpace("pa100k", tuple(Attribute(name, prompts) for name, prompts in _PROMPTS.items()))


def read_pa100k(root: Path, split: str) -> Split:
    """Every picture is its own identity. Raises ContractError naming what is missing or not of the form."""
    if split not in SPLITS:
        raise ContractError(f"{TITLE} has no {split} split; accepted: {', '.join(SPLITS)}")
    path = annotation(root, split)
    records = _from_mat(path, split) if path.suffix == ".mat" else _from_json(path)
    return Split(name=split, source=path, images=picture_folder(image_folders(root), records), records=records, space=PA_26)


def annotation(root: Path, split: str) -> Path:
    """The file that labels a split, as published or as APTM wrote it. Raises ContractError if there is neither."""
    names = [f"{stem}_{split}.json" for stem in ("PA100K", "pa100k")]
    candidates = [root / "annotation.mat", root / "annotation" / "annotation.mat", *(root / name for name in names)]
    for path in candidates:
        if path.is_file():
            return path
    raise ContractError(f"{TITLE}: found neither {candidates[0]} (as published) nor {candidates[-1]} (APTM's); put one there")


def image_folders(root: Path) -> list[Path]:
    """Where its pictures may lie, the first that has them counts."""
    return [root / name for name in ("data", ".", "images", "images/PA-100K", "images/pa-100k", "release_data/release_data")]


def _from_mat(path: Path, split: str) -> tuple[Record, ...]:
    from scipy.io import loadmat  # half a second: only where it is wanted

    try:
        data = loadmat(path)
    except Exception as err:  # scipy raises many kinds for a file that is not MATLAB's
        raise ContractError(f"{path} is no readable MATLAB file ({type(err).__name__}: {err})") from err
    wanted = ("attributes", f"{split}_images_name", f"{split}_label")
    if absent := [name for name in wanted if name not in data]:
        raise ContractError(f"{path} lacks {', '.join(absent)}; accepted: PA-100K's annotation.mat")
    names, images = _texts(data["attributes"]), _texts(data[wanted[1]])
    labels = np.asarray(data[wanted[2]])
    if sorted(names) != sorted(PA_26.names):
        raise ContractError(f"{path}: attributes {', '.join(sorted(set(names) ^ set(PA_26.names)))} differ from PA-100K's 26")
    if labels.shape != (len(images), len(PA_26)):
        raise ContractError(f"{path}: {wanted[2]} has shape {labels.shape}; accepted: {(len(images), len(PA_26))}")
    if bad := set(np.unique(labels).tolist()) - {0, 1}:
        raise ContractError(f"{path}: {wanted[2]} holds {sorted(bad)}; accepted: 0 and 1")
    ordered = labels[:, [names.index(name) for name in PA_26.names]]
    return tuple(
        _record(image, row.tolist(), f"{path}: {split} picture {i}") for i, (image, row) in enumerate(zip(images, ordered, strict=True), 1)
    )


def _from_json(path: Path) -> tuple[Record, ...]:
    records = []
    for number, entry in enumerate(read_entries(path), start=1):
        where = f"{path}: entry {number}"
        labels = field(entry, "label", list, where)
        if len(labels) != len(PA_26) or any(value not in (0, 1) for value in labels):
            raise ContractError(f"{where}: label {labels}; accepted: {len(PA_26)} values of 0 or 1 in PA-100K's order")
        records.append(_record(field(entry, "image", str, where), labels, where))
    return tuple(records)


def _record(image: str, labels: list[int], where: str) -> Record:
    name = safe_name(image, where)
    return Record(image=name, identity=name, labels=tuple(int(value) for value in labels))


def _texts(cells: Any) -> list[str]:
    """A MATLAB cell array of strings."""
    return [str(np.asarray(cell).ravel()[0]) if np.asarray(cell).size else "" for cell in np.asarray(cells).ravel()]
