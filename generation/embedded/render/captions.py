"""Captions of a rendered person in the words of the annotation guideline, so that keyword rules recover the labels."""

import numpy as np

from generation.embedded.render.person import Person

MAX_WORDS = 35
_MENTION = 0.7
_VIEW_PHRASES = {
    "front": ("facing the camera", "seen from the front"),
    "side": ("seen from the side", "in side view"),
    "back": ("seen from behind", "seen from the back"),
}
_LONG_SLEEVED = ("hoodie", "jacket", "sweater")
# s subject, h hair, c clothes, i items, v view. Clothes keep the upper garment first: "in black ..." alone would colour everything.
_PATTERNS = (
    "{s}{h} wearing {c}{i}{v}",
    "{s}{h} in {c}{i}{v}",
    "a photo of {s}{h} wearing {c}{i}{v}",
    "there is {s}{h} wearing {c}{i}{v}",
    "{s} walking in {c}{h}{i}{v}",
    "{s}{h} walking and wearing {c}{i}{v}",
    "a picture of {s}{h} in {c}{i}{v}",
    "{s}{i} wearing {c}{h}{v}",
    "{s}{h} is wearing {c}{i}{v}",
    "{s} who wears {c}{h}{i}{v}",
)


def caption(person: Person, view: str, rng: np.random.Generator, *, full: bool = False) -> str:
    """One lower-case sentence of at most 35 words without a full stop.

    Gender, garments and their colours are always named; hair, sleeves, lengths, hat, bags, glasses and view each with
    probability 0.7, or all (glasses, pattern and view still at random) with `full`. Absent things are never mentioned.
    """
    said = _Said(rng, full)
    parts = {"s": _subject(person, said), "h": _hair(person, said), "c": _clothes(person, said), "i": _items(person, said)}
    parts["v"] = _view(view, said)
    text = _PATTERNS[int(rng.integers(len(_PATTERNS)))].format(**parts)
    if len(text.split()) > MAX_WORDS:
        text = "{s}{h} wearing {c}{i}".format(**parts)
    return text


class _Said:
    """Random decisions: which optional fact is mentioned, which synonym is used."""

    def __init__(self, rng: np.random.Generator, full: bool) -> None:
        self.rng, self.full = rng, full

    def mention(self, optional: bool = False) -> bool:
        chance = self.rng.random() < _MENTION
        return bool(chance or (self.full and not optional))

    def pick(self, options: tuple[str, ...]) -> str:
        return options[int(self.rng.integers(len(options)))]


def _subject(person: Person, said: _Said) -> str:
    woman = person.gender == "woman"
    if person.age == "child":
        return said.pick(
            ("a girl", "a girl", "a little girl", "a young girl") if woman else ("a boy", "a boy", "a little boy", "a young boy")
        )
    if person.age == "elderly" and said.mention():
        return said.pick(
            ("an elderly woman", "an old woman", "an elderly lady") if woman else ("an elderly man", "an old man", "an elderly gentleman")
        )
    return said.pick(("a woman", "a woman", "a lady", "a young woman") if woman else ("a man", "a man", "a gentleman", "a young man"))


def _hair(person: Person, said: _Said) -> str:
    if not said.mention():
        return ""
    colored = f"{person.hair_length} {person.hair_color} hair" if said.rng.random() < 0.25 else f"{person.hair_length} hair"
    return f" with {colored}"


def _clothes(person: Person, said: _Said) -> str:
    upper = _dress(person, said) if person.lower_type == "dress" else f"{_upper(person, said)} and {_lower(person, said)}"
    return upper


def _upper(person: Person, said: _Said) -> str:
    color = person.upper_color
    if person.long_coat:
        return f"a long {color} coat"
    tops = ("shirt", "top", "blouse") if person.gender == "woman" else ("shirt", "shirt", "top")
    pattern = {"stripe": "striped ", "plaid": "plaid "}.get(person.upper_pattern or "", "") if said.mention(optional=True) else ""
    if not said.mention():
        return f"a {pattern}{color} {said.pick(tops)}"
    long = person.sleeve_length == "long"
    if said.rng.random() < 0.5:
        return f"a {pattern}{color} {said.pick(_LONG_SLEEVED) if long else 't-shirt'}"
    if said.rng.random() < 0.6:
        return f"a {person.sleeve_length} sleeved {pattern}{color} {said.pick(tops)}"
    return f"a {pattern}{color} {said.pick(tops)} with {person.sleeve_length} sleeves"


def _lower(person: Person, said: _Said) -> str:
    color = person.lower_color
    if person.lower_type == "pants":
        return f"{color} {said.pick(('pants', 'jeans', 'trousers') if color == 'blue' else ('pants', 'pants', 'trousers'))}"
    if person.lower_type == "shorts":
        return f"{color} shorts"
    return f"a {person.lower_length} {color} skirt" if said.mention() else f"a {color} skirt"


def _dress(person: Person, said: _Said) -> str:
    length = f"{person.lower_length} " if said.mention() else ""
    sleeves = f" with {person.sleeve_length} sleeves" if said.mention() else ""
    return f"a {length}{person.upper_color} dress{sleeves}"


def _items(person: Person, said: _Said) -> str:
    worn = ["a hat"] if person.hat and said.mention() else []
    if person.glasses and said.mention(optional=True) and not said.full:
        worn.append("glasses")
    bags = ["a backpack"] if person.backpack and said.mention() else []
    if person.handbag and said.mention():
        bags.append(said.pick(("a handbag", "a handbag", "a purse")))
    if person.bag and said.mention():
        bags.append(said.pick(("a bag", "a bag", "a shoulder bag")))
    verb = said.pick(("carrying", "with")) if bags else ""
    if worn and bags and verb == "with":
        return f" with {_join(worn + bags)}"
    return (f" with {_join(worn)}" if worn else "") + (f" {verb} {_join(bags)}" if bags else "")


def _join(things: list[str]) -> str:
    return things[0] if len(things) == 1 else ", ".join(things[:-1]) + " and " + things[-1]


def _view(view: str, said: _Said) -> str:
    if said.rng.random() >= 0.5:
        return ""
    return f"{said.pick((' ', ', '))}{said.pick(_VIEW_PHRASES[view])}"
