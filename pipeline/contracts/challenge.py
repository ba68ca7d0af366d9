"""What a line of the retrieval challenge says: the 21 bits of a pedestrian, the tag of a vehicle, and which image answers which query.

Shared by the miniature that `generation` makes and by the readers of `finetune`, which may not import each other. Facts are from the
CVPR 2023 Foundation Model Challenge, Track 2, as published and as counted on its label lines. A bit is 1 when the image has it; the
prompts are those of PA-100K with five attributes less (lower stripe, lower pattern, trousers, shorts, boots).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.contracts.attributes import Attribute, AttributeSpace
from pipeline.contracts.errors import ContractError


def _upper(name: str, thing: str) -> Attribute:
    where = "on the upper clothes of the person"
    return Attribute(f"upper_{name}", (f"there is no {name} {where}", f"there is {thing} {where}"))


BITS_21 = AttributeSpace(
    "challenge21",
    (
        Attribute("female", ("the person is a man", "the person is a woman")),
        Attribute("age_over_60", ("the person is no more than 60 years old", "the person is older than 60 years old")),
        Attribute("age_18_60", ("the person is a young or old one", "the person is of mid age, between 18 and 60 years old")),
        Attribute("age_under_18", ("the person is older than 18", "the person is a baby or a teenager, younger than 18")),
        Attribute("front", ("the picture is not the front of the person", "the picture shows the front of the person")),
        Attribute("side", ("the picture is not the side of the person", "the picture shows the side of the person")),
        Attribute("back", ("the picture is not the back of the person", "the picture shows the back of the person")),
        Attribute("hat", ("a person without a hat", "a person with a hat")),
        Attribute("glasses", ("a person without glasses", "a person with glasses")),
        Attribute("handbag", ("a person without a handbag", "a person with a handbag")),
        Attribute("shoulder_bag", ("a person without a shoulder bag", "a person with a shoulder bag")),
        Attribute("backpack", ("a person without a backpack", "a person with a backpack")),
        Attribute("holds_object", ("the person does not hold an object in front", "the person holds an object in front")),
        Attribute("short_sleeve", ("the person does not wear short sleeved upper clothes", "the person wears short sleeved upper clothes")),
        Attribute("long_sleeve", ("the person does not wear long sleeved upper clothes", "the person wears long sleeved upper clothes")),
        _upper("stripe", "a stripe"),
        _upper("logo", "a logo"),
        _upper("plaid", "plaid"),
        _upper("splice", "a splice"),
        Attribute("long_coat", ("the person does not wear a long coat", "the person wears a long coat")),
        Attribute("skirt_or_dress", ("the person does not wear a skirt or a dress", "the person wears a skirt or a dress")),
    ),
)
FEMALE = 0
EXCLUSIVE_BITS = ((1, 2, 3), (4, 5, 6), (13, 14))
"""Age, view and sleeve: every published line sets exactly one bit of each group."""

COLOURS = ("black", "blue", "brown", "green", "grey", "orange", "pink", "purple", "red", "white", "yellow")
TYPES = ("Bus", "Microbus", "Minivan", "SUV", "Sedan", "Truck")
_BRAND_NAMES = (
    "Audi|BAOJUN|BESTUNE|BMW|BYD|Balong Heavy Truck|Bentley|Benz|Buick|Cadillac|Chana|Chery|Chevrolet|China-Moto|Citroen|"
    "Dongfeng|FAW|FORLAND|FOTON|Ford|Geely|Golden Dragon|GreatWall|HAFEI|Haima|Honda|Hongyan|Hyundai|Infiniti|Isuzu|Iveco|"
    "JAC|JMC|Jeep|Jinbei|KINGLONG|Karma|Kia|LEOPAARD|Landrover|Lexus|Luxgen|MORRIS-GARAGE|Mazda|Mini|Mitsubishi|Nissan|OPEL|"
    "PEUGEOT|Porsche|ROEWE|SGMW|SKODA|Shacman|Shuanghuan|Soueast|Style|Subaru|Suzuki|Toyota|Volkswagen|Volvo|XIALI|Yutong|"
    "ZXAUTO"
)
BRANDS = tuple(_BRAND_NAMES.split("|"))


@dataclass(frozen=True, slots=True)
class VehicleTag:
    """What is known of a vehicle; at least one slot is filled. Train tags never fill all three, test queries always do."""

    colour: str | None = None
    brand: str | None = None
    type: str | None = None

    def __post_init__(self) -> None:
        slots = (("colour", self.colour, COLOURS), ("brand", self.brand, BRANDS), ("type", self.type, TYPES))
        for name, value, accepted in slots:
            if value is not None and value not in accepted:
                raise ContractError(f"vehicle {name} {value!r}; accepted: {', '.join(accepted)}")
        if not self.words:
            raise ContractError("a vehicle tag names a colour, a brand or a type; this one is empty")

    @property
    def words(self) -> str:
        """The tag without its stop: "white Audi Sedan"."""
        return " ".join(part for part in (self.colour, self.brand, self.type) if part)

    def __str__(self) -> str:
        return f"{self.words}."


def parse_tag(text: str) -> VehicleTag:
    """`red Balong Heavy Truck Truck.` -> VehicleTag("red", "Balong Heavy Truck", "Truck"); the final stop may be absent.

    A whole brand is looked for before a type, because "Balong Heavy Truck" ends with one. Raises ContractError naming what is unknown.
    """
    rest = text.removesuffix(".")
    first, _, others = rest.partition(" ")
    colour, rest = (first, others) if first in COLOURS else (None, rest)
    if rest in BRANDS:
        return VehicleTag(colour, rest)
    brand, _, kind = rest.rpartition(" ")
    if (kind and kind not in TYPES) or (brand and brand not in BRANDS):
        raise ContractError(f"vehicle tag {text!r}: {rest!r} is not [brand] [type]; types: {', '.join(TYPES)}; brands: {', '.join(BRANDS)}")
    return VehicleTag(colour, brand or None, kind or None)


def includes(query: Sequence[int], image: Sequence[int]) -> bool:
    """Is an image with bits `image` an answer to a line with bits `query` (both 21 of 0 or 1)?

    Gender must be equal, because 0 means male and not "unknown", and every other set bit of the query must be set in the image. This is
    the relation that the winners' validation metric uses; the organisers' own rule is not published.
    """
    return query[FEMALE] == image[FEMALE] and all(have for want, have in zip(query, image, strict=True) if want)
