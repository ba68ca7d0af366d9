"""Who is drawn: the identity of a pedestrian, sampled consistently, kept across views and photographs."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from generation.embedded.render.palette import HAIR_COLORS, LOWER_COLORS, SKIN_TONES, UPPER_COLORS

GENDERS = ("woman", "man")
AGES = ("child", "adult", "elderly")
LENGTHS = ("short", "long")
LOWER_TYPES = ("pants", "shorts", "skirt", "dress")
PATTERNS = (None, "stripe", "logo", "plaid", "splice")
DRESS_COLORS = tuple(name for name in UPPER_COLORS if name in LOWER_COLORS)
VIEWS = ("front", "side", "back")


@dataclass(frozen=True, slots=True)
class Person:
    """One identity: what the 27 and 21 attribute labels name, plus what only tells two people apart.

    `skin` indexes SKIN_TONES; `height` and `width` are factors around 1; `look` seeds the details that stay with the
    person (exact shades, hat shape, bag colours, beard). Raises: ValueError naming the field of an invalid value or combination.
    """

    gender: str
    age: str
    hair_length: str
    hair_color: str
    skin: int
    hat: bool
    backpack: bool
    handbag: bool
    bag: bool
    glasses: bool
    holds_object: bool
    sleeve_length: str
    upper_color: str
    lower_type: str
    lower_length: str
    lower_color: str
    upper_pattern: str | None = None
    long_coat: bool = False
    height: float = 1.0
    width: float = 1.0
    look: int = 0

    def __post_init__(self) -> None:
        _check_values(self)
        _check_combinations(self)


_ACCEPTED = {
    "gender": GENDERS,
    "age": AGES,
    "hair_length": LENGTHS,
    "hair_color": tuple(HAIR_COLORS),
    "skin": tuple(range(len(SKIN_TONES))),
    "sleeve_length": LENGTHS,
    "upper_color": UPPER_COLORS,
    "lower_type": LOWER_TYPES,
    "lower_length": LENGTHS,
    "lower_color": LOWER_COLORS,
    "upper_pattern": PATTERNS,
}
FIELDS = tuple(field.name for field in fields(Person))


def _check_values(person: Person) -> None:
    for name, accepted in _ACCEPTED.items():
        if getattr(person, name) not in accepted:
            raise ValueError(f"{name}={getattr(person, name)!r}: accepted are {', '.join(map(str, accepted))}")
    for name in ("height", "width"):
        if not 0.8 <= getattr(person, name) <= 1.2:
            raise ValueError(f"{name}={getattr(person, name)!r}: a factor from 0.8 to 1.2 is accepted")


def _check_combinations(person: Person) -> None:
    rules = (
        ("lower_length", person.lower_type == "pants" and person.lower_length == "short", "pants are long; short ones are shorts"),
        ("lower_length", person.lower_type == "shorts" and person.lower_length == "long", "shorts are short; long ones are pants"),
        ("lower_color", person.lower_type == "dress" and person.lower_color != person.upper_color, "a dress has one colour"),
        ("long_coat", person.long_coat and person.lower_type == "dress", "a coat would hide the dress"),
        ("long_coat", person.long_coat and person.lower_length == "short", "a coat would hide short lower clothes"),
        ("long_coat", person.long_coat and person.sleeve_length == "short", "a long coat has long sleeves"),
        ("hair_color", person.age == "elderly" and person.hair_color not in ("gray", "white"), "elderly hair is gray or white"),
        ("hair_color", person.age != "elderly" and person.hair_color in ("gray", "white"), "gray and white mark the elderly"),
    )
    for name, broken, reason in rules:
        if broken:
            raise ValueError(f"{name}={getattr(person, name)!r}: {reason}")


def sample_person(rng: np.random.Generator, **fixed: object) -> Person:
    """A random valid Person; `fixed` fields are kept and the others drawn to agree with them.

    Raises: ValueError naming the field, for an unknown field, a value outside its range or a contradiction among `fixed`.
    """
    unknown = sorted(set(fixed) - set(FIELDS))
    if unknown:
        raise ValueError(f"{unknown[0]}: no such field of Person; accepted: {', '.join(FIELDS)}")
    draw = _Draw(rng, fixed)
    _draw_body(draw)
    _draw_clothes(draw)
    _draw_carried(draw)
    return Person(**draw.values)


class _Draw:
    """Fields decided so far; a fixed one wins over its random draw, which is made all the same to keep streams aligned."""

    def __init__(self, rng: np.random.Generator, fixed: dict[str, object]) -> None:
        self.rng, self.fixed = rng, fixed
        self.values: dict[str, Any] = {}

    def put(self, name: str, drawn: object) -> object:
        self.values[name] = self.fixed.get(name, drawn)
        return self.values[name]

    def choice(self, name: str, options: tuple, weights: tuple | None = None) -> object:
        share = None if weights is None else np.asarray(weights, float) / sum(weights)
        return self.put(name, options[int(self.rng.choice(len(options), p=share))])

    def flag(self, name: str, probability: float) -> bool:
        return bool(self.put(name, bool(self.rng.random() < probability)))


def _draw_body(draw: _Draw) -> None:
    skirted = draw.fixed.get("lower_type") in ("skirt", "dress")
    gender = draw.choice("gender", GENDERS, (1, 0) if skirted else (1, 1))
    gray = draw.fixed.get("hair_color") in ("gray", "white")
    aged = (0, 0, 1) if gray else (0.2, 0.8, 0.0) if "hair_color" in draw.fixed else (0.2, 0.65, 0.15)
    age = draw.choice("age", AGES, aged)
    draw.choice("hair_length", LENGTHS, (0.35, 0.65) if gender == "woman" else (0.85, 0.15))
    draw.choice("hair_color", tuple(HAIR_COLORS), (0, 0, 0, 0, 1, 1) if age == "elderly" else (4, 3, 2, 1, 0, 0))
    draw.choice("skin", tuple(range(len(SKIN_TONES))), (3, 3, 3, 2, 2, 1))
    draw.put("height", float(np.round(draw.rng.uniform(0.95, 1.0), 3)))
    draw.put("width", float(np.round(draw.rng.uniform(0.94, 1.08), 3)))
    draw.put("look", int(draw.rng.integers(2**31)))


def _draw_clothes(draw: _Draw) -> None:
    fixed, woman = draw.fixed, draw.values["gender"] == "woman"
    coat_allowed = (
        fixed.get("sleeve_length") != "short"
        and fixed.get("lower_length") != "short"
        and fixed.get("lower_type") not in ("dress", "shorts")
    )
    coat = draw.flag("long_coat", 0.05 if coat_allowed else 0.0)
    draw.choice("sleeve_length", LENGTHS, (0, 1) if coat else (1, 1))
    weights = np.array((0.4, 0.2, 0.2, 0.2) if woman else (0.68, 0.32, 0.0, 0.0))
    wanted = "long" if coat else fixed.get("lower_length")
    weights *= {"long": (1, 0, 1, 1), "short": (0, 1, 1, 1)}.get(str(wanted), (1, 1, 1, 1))
    if coat or not _dress_possible(fixed):
        weights[3] = 0
    lower = draw.choice("lower_type", LOWER_TYPES, tuple(weights))
    either = (0, 1) if coat else (1, 1)
    draw.choice("lower_length", LENGTHS, {"pants": (0, 1), "shorts": (1, 0)}.get(str(lower), either))
    _draw_colors(draw, lower == "dress")
    draw.choice("upper_pattern", PATTERNS, (1, 0, 0, 0, 0) if coat else (12, 1, 2, 1, 1))


def _dress_possible(fixed: dict[str, object]) -> bool:
    upper, lower = fixed.get("upper_color"), fixed.get("lower_color")
    agree = upper is None or lower is None or upper == lower
    return agree and upper in (None, *DRESS_COLORS) and lower in (None, *DRESS_COLORS)


def _draw_colors(draw: _Draw, dress: bool) -> None:
    if not dress:
        draw.choice("upper_color", UPPER_COLORS)
        draw.choice("lower_color", LOWER_COLORS)
        return
    named = draw.fixed.get("upper_color", draw.fixed.get("lower_color"))
    color = DRESS_COLORS[int(draw.rng.integers(len(DRESS_COLORS)))] if named is None else named
    draw.put("upper_color", color)
    draw.put("lower_color", color)


def _draw_carried(draw: _Draw) -> None:
    draw.flag("hat", 0.25)
    draw.flag("glasses", 0.18)
    kind = draw.rng.choice(5, p=(0.42, 0.20, 0.15, 0.15, 0.08))
    draw.flag("backpack", 1.0 if kind == 1 else 0.0)
    draw.flag("handbag", 1.0 if kind in (2, 4) else 0.0)
    draw.flag("bag", 1.0 if kind in (3, 4) else 0.0)
    draw.flag("holds_object", 0.0 if kind in (2, 4) else 0.06)
