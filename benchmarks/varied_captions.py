"""Captions that are all different, for speed and equality checks of the annotation: nothing of them can be remembered as a whole."""

import random
import re
from collections.abc import Iterator, Sequence

_WHO = (
    "a man",
    "the man",
    "a woman",
    "this woman",
    "a young girl",
    "the lady",
    "an elderly man",
    "a boy",
    "a person",
    "the pedestrian",
    "a teenage girl",
    "a middle-aged man",
    "a guy",
    "a female student",
)
_HAIR = (
    "with long {c} hair",
    "with short hair",
    "who has {c} hair in a ponytail",
    "with a bald head",
    "with shoulder length {c} hair",
    "with curly hair",
    "",
)
_COLOURS = (
    "black",
    "white",
    "red",
    "dark blue",
    "light grey",
    "pink",
    "navy",
    "olive green",
    "tan",
    "brown",
    "purple",
    "maroon",
    "beige",
    "yellow",
    "black and white",
    "red and blue striped",
    "orange",
    "charcoal",
    "teal",
    "cream",
    "plaid",
    "bright green",
    "floral",
)
_UPPER = (
    "shirt",
    "t-shirt",
    "button down shirt",
    "long sleeved shirt",
    "short sleeve top",
    "jacket",
    "hooded sweatshirt",
    "hoodie",
    "coat",
    "polo shirt",
    "blouse",
    "tank top",
    "sweater",
    "down jacket",
    "denim jacket",
    "cardigan",
    "windbreaker",
    "vest",
)
_LOWER = (
    "jeans",
    "pants",
    "trousers",
    "shorts",
    "cargo shorts",
    "leggings",
    "slacks",
    "capris",
    "sweatpants",
    "knee length skirt",
    "mini skirt",
)
_SHOES = ("sneakers", "tennis shoes", "boots", "sandals", "flip flops", "high heels", "dress shoes", "running shoes with {c} soles")
_ITEMS = (
    "a {c} backpack on both shoulders",
    "a {c} purse over her left shoulder",
    "a {c} messenger bag across the body",
    "a shopping bag in the right hand",
    "a {c} umbrella",
    "a cell phone in his hand",
    "a {c} handbag",
    "two plastic bags",
    "a cup of coffee",
    "a {c} suitcase by the handle",
)
_DOING = (
    "walking away from the camera",
    "looking down at a phone",
    "crossing the street",
    "standing next to a {c} car",
    "facing to the left",
    "walking on a brick sidewalk in front of a {c} wall",
    "talking to a man in a {c} coat",
    "riding a {c} bicycle",
    "waiting at a bus stop",
)
_HATS = ("a {c} baseball cap", "a {c} hat", "no hat", "sunglasses", "a {c} scarf", "glasses and a watch", "a {c} beanie")


def cuhk_like(rng: random.Random, more: Sequence[int] = (1, 1, 2, 2)) -> str:
    """A run-on description in the manner of CUHK-PEDES, whose captions have 23.5 words on average.

    more: of so many things besides the clothes it may speak; with (2, 3, 3, 4) it has 32 words, ICFG-PEDES' have 37.
    """

    def some(options: Sequence[str]) -> str:
        return rng.choice(options).replace("{c}", rng.choice(_COLOURS))

    wear, and_, he = (
        rng.choice(("is wearing", "wears", "wearing", "dressed in")),
        rng.choice((", and", " and", ",")),
        rng.choice(("he", "she")),
    )
    clauses = [
        f"{some(_WHO)} {some(_HAIR)} {wear} a {rng.choice(_COLOURS)} {rng.choice(_UPPER)}{and_} "
        f"{rng.choice(_COLOURS)} {rng.choice(_LOWER)}",
        f"{rng.choice(_COLOURS)} {some(_SHOES)}",
        f"{rng.choice((f'{he} is carrying', 'carrying', 'with', f'{he} has'))} {some(_ITEMS)}",
        some(_DOING),
        f"{rng.choice(('wearing', 'with', f'{he} also wears'))} {some(_HATS)}",
    ]
    middle = clauses[1:]
    rng.shuffle(middle)
    text = clauses[0] + "".join(rng.choice((", ", " and ", ". ", " ")) + clause for clause in middle[: rng.choice(more)])
    return re.sub(r" +", " ", text) + rng.choice((".", ""))


def shuffled(captions: Sequence[str], rng: random.Random) -> str:
    """Three to six pieces of the given captions in a new order, the first one naming a person."""
    pieces = [re.split(r"(?<=.) (?=wearing|with|in |and |carrying|holding|,)", rng.choice(captions)) for _ in range(4)]
    rest = [piece for one in pieces for piece in one[1:]]
    rng.shuffle(rest)
    return " ".join([pieces[0][0], *rest[: rng.randint(2, 5)]])


def different(captions: Iterator[str], count: int) -> list[str]:
    """The first `count` different ones."""
    found: dict[str, None] = {}
    for caption in captions:
        found[caption] = None
        if len(found) == count:
            break
    return list(found)
