"""A person's ground-truth labels: the 27 attributes of the MALS space and the 21 bits of the challenge."""

from generation.embedded.render.palette import LOWER_COLORS, UPPER_COLORS
from generation.embedded.render.person import VIEWS, Person


def labels27(person: Person) -> list[int]:
    """27 ints of 0 or 1 in the order and polarity of APTM: 0 selects the first prompt (woman, child, short hair, *has* the item)."""
    body = [person.gender == "man", person.age != "child", person.hair_length == "long"]
    without = [not person.hat, not person.backpack, not person.handbag, not person.bag]
    clothes = [person.sleeve_length == "short", person.lower_length == "short", person.lower_type in ("pants", "shorts")]
    upper = [person.upper_color != name for name in UPPER_COLORS]
    lower = [person.lower_color != name for name in LOWER_COLORS]
    return [int(value) for value in body + without + clothes + upper + lower]


def bits21(person: Person, view: str) -> list[int]:
    """21 ints of 0 or 1 (1 = present): PA-100K order less five, as the challenge's pedestrian lines carry them."""
    if view not in VIEWS:
        raise ValueError(f"view={view!r}: accepted are {', '.join(VIEWS)}")
    body = [person.gender == "woman", person.age == "elderly", person.age == "adult", person.age == "child"]
    seen = [view == name for name in VIEWS]
    items = [person.hat, person.glasses, person.handbag, person.bag, person.backpack, person.holds_object]
    sleeves = [person.sleeve_length == "short", person.sleeve_length == "long"]
    patterns = [person.upper_pattern == name for name in ("stripe", "logo", "plaid", "splice")]
    return [int(value) for value in body + seen + items + sleeves + patterns + [person.long_coat, person.lower_type in ("skirt", "dress")]]
