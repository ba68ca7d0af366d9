"""Attribute spaces: names, prompts and polarity, stated once.

PERSON_27 is the space of MALS (Market-1501's attributes; prompts and polarity as in the APTM research code: for hats, bags and colours
label 0 means "has it"). Keyword rules that find the labels in a caption live in `generation/annotation`; they refer to these names.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.contracts.errors import ContractError

MISSING = -1


@dataclass(frozen=True, slots=True)
class Attribute:
    """One binary attribute. prompts[v] is the sentence that is true when the label is v; -1 means not stated."""

    name: str
    prompts: tuple[str, str]

    @property
    def meanings(self) -> tuple[str, str]:
        """What label 0 and label 1 say of a person: "with a hat", "without a hat"."""
        zero, one = (prompt.removeprefix("the person ") for prompt in self.prompts)
        return zero, one


@dataclass(frozen=True, slots=True)
class AttributeSpace:
    """Ordered attributes. Labels are lists in this order; files also name them, so order is never guessed."""

    name: str
    attributes: tuple[Attribute, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(a.name for a in self.attributes)

    @property
    def prompts(self) -> tuple[str, ...]:
        """All 2A prompts; prompt p belongs to attribute p // 2 and is true when its label is p % 2."""
        return tuple(p for a in self.attributes for p in a.prompts)

    def __len__(self) -> int:
        return len(self.attributes)

    def to_labels(self, values: Mapping[str, int]) -> list[int]:
        """Named values -> list in the order of the space; absent names become -1. Raises ContractError on unknown names or values."""
        if unknown := sorted(set(values) - set(self.names)):
            raise ContractError(f"attributes {unknown} are not in space {self.name!r}; accepted: {', '.join(self.names)}")
        if bad := {n: v for n, v in values.items() if v not in (0, 1, MISSING)}:
            raise ContractError(f"attribute values {bad}; accepted: 0, 1, -1 (not stated)")
        return [values.get(n, MISSING) for n in self.names]

    def to_named(self, labels: list[int]) -> dict[str, int]:
        """Inverse of to_labels, with every name present."""
        if len(labels) != len(self):
            raise ContractError(f"{len(labels)} labels for the {len(self)} attributes of space {self.name!r}")
        return dict(zip(self.names, labels, strict=True))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any, where: str = "attribute space") -> "AttributeSpace":
        """Inverse of to_json. Raises ContractError naming `where`."""
        try:
            space = cls(data["name"], tuple(Attribute(a["name"], (a["prompts"][0], a["prompts"][1])) for a in data["attributes"]))
        except (KeyError, IndexError, TypeError) as err:
            raise ContractError(f"{where} is no attribute space ({type(err).__name__}: {err}); accepted: {_FORM}") from err
        if not all(isinstance(text, str) and text for text in (space.name, *space.names, *space.prompts)):
            raise ContractError(f"{where}: a name or prompt of the attribute space is no text or empty; accepted: {_FORM}")
        if len(set(space.names)) < len(space):
            raise ContractError(f"{where}: the attribute space has a name twice; every attribute needs a name of its own")
        return space


_FORM = '{"name": ..., "attributes": [{"name": ..., "prompts": [text of label 0, text of label 1]}, ...]}'


UPPER_COLOURS = ("black", "white", "red", "purple", "yellow", "blue", "green", "gray")
LOWER_COLOURS = ("black", "white", "purple", "yellow", "blue", "green", "pink", "gray", "brown")


def _carried(name: str) -> Attribute:
    return Attribute(name, (f"the person with a {name}", f"the person without a {name}"))


def _coloured(part: str, colour: str) -> Attribute:
    garment = f"{colour} {part} clothes"
    return Attribute(f"{part}_{colour}", (f"the person wears {garment}", f"the person does not wear {garment}"))


PERSON_27 = AttributeSpace(
    "person27",
    (
        Attribute("gender", ("the person is a woman", "the person is a man")),
        Attribute("age", ("the person is younger than 18 years old", "the person is older than 18 years old")),
        Attribute("hair_length", ("the person with short hair", "the person with long hair")),
        *(_carried(name) for name in ("hat", "backpack", "handbag", "bag")),
        Attribute("sleeve_length", ("the person wears long sleeved upper clothes", "the person wears short sleeved upper clothes")),
        Attribute("lower_length", ("the person wears long dress or long pants", "the person wears short dress or short pants")),
        Attribute("lower_type", ("the person wears dress or skirt", "the person wears pants or shorts")),
        *(_coloured("upper", colour) for colour in UPPER_COLOURS),
        *(_coloured("lower", colour) for colour in LOWER_COLOURS),
    ),
)
