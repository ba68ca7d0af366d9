"""A look -> one English sentence that states all of it, in the forms on which the embedded diffusion model was trained.

Every word also occurs in the captions of its renders (a test holds that), and the keyword annotation of a sentence gives back the look.
"""

import random

from generation.sampler import Look

_SUBJECTS = {
    ("woman", "child"): ("a girl", "a little girl", "a young girl"),
    ("woman", "adult"): ("a woman", "a lady", "a young woman"),
    ("woman", "elderly"): ("an elderly woman", "an old woman", "an elderly lady"),
    ("man", "child"): ("a boy", "a little boy", "a young boy"),
    ("man", "adult"): ("a man", "a gentleman", "a young man"),
    ("man", "elderly"): ("an elderly man", "an old man", "an elderly gentleman"),
}
_TOPS = {"woman": ("shirt", "top", "blouse"), "man": ("shirt", "top")}
_LONG_SLEEVED = ("hoodie", "jacket", "sweater")
_LOWERS = {"pants": ("pants", "trousers"), "shorts": ("shorts",)}
_CARRIED = {"backpack": ("a backpack",), "handbag": ("a handbag", "a purse"), "bag": ("a bag", "a shoulder bag")}
_VIEWS = ("facing the camera", "seen from the front", "seen from the side", "in side view", "seen from behind", "seen from the back")
# s subject, h hair, c clothes, i hat and bag, v view
_PATTERNS = (
    "{s}{h} wearing {c}{i}{v}",
    "{s}{h} in {c}{i}{v}",
    "a photo of {s}{h} wearing {c}{i}{v}",
    "there is {s}{h} wearing {c}{i}{v}",
    "{s}{h} walking and wearing {c}{i}{v}",
    "a picture of {s}{h} in {c}{i}{v}",
    "{s}{h} is wearing {c}{i}{v}",
    "{s} who wears {c}{h}{i}{v}",
)


def write_sentence(look: Look, seed: int) -> str:
    """A lower-case sentence without a full stop; `seed` chooses pattern, synonyms, and whether a view is named."""
    rng = random.Random(seed)
    view = rng.choice((" ", ", ")) + rng.choice(_VIEWS) if rng.random() < 0.5 else ""
    return rng.choice(_PATTERNS).format(
        s=rng.choice(_SUBJECTS[look.gender, look.age]),
        h=f" with {look.hair_length} hair",
        c=_clothes(look, rng),
        i=_items(look, rng),
        v=view,
    )


def _clothes(look: Look, rng: random.Random) -> str:
    if look.lower_type == "dress":
        return f"a {look.lower_length} {look.upper_colour} dress with {look.sleeve_length} sleeves"
    return f"{_upper(look, rng)} and {_lower(look, rng)}"


def _upper(look: Look, rng: random.Random) -> str:
    form = rng.randrange(3)
    if form == 0:
        return f"a {look.upper_colour} {rng.choice(_LONG_SLEEVED) if look.sleeve_length == 'long' else 't-shirt'}"
    top = rng.choice(_TOPS[look.gender])
    if form == 1:
        return f"a {look.sleeve_length} sleeved {look.upper_colour} {top}"
    return f"a {look.upper_colour} {top} with {look.sleeve_length} sleeves"


def _lower(look: Look, rng: random.Random) -> str:
    if look.lower_type == "skirt":
        return f"a {look.lower_length} {look.lower_colour} skirt"
    return f"{look.lower_colour} {rng.choice(_LOWERS[look.lower_type])}"


def _items(look: Look, rng: random.Random) -> str:
    hat = " with a hat" if look.hat else ""
    if look.carried is None:
        return hat
    thing = rng.choice(_CARRIED[look.carried])
    if look.hat and rng.random() < 0.5:
        return f" with a hat and {thing}"
    return f"{hat} {rng.choice(('carrying', 'with'))} {thing}"
