"""Captions of one person with what they state, for the properties of the annotation."""

import re
from dataclasses import dataclass

from hypothesis import strategies as st

COLOURS = {  # words of the guideline's C2 by the colour that they are; "" for those of neither space
    "black": ("black",),
    "white": ("white", "off-white"),
    "red": ("red", "crimson", "scarlet", "maroon", "burgundy"),
    "purple": ("purple", "violet", "lavender", "lilac"),
    "yellow": ("yellow", "mustard"),
    "blue": ("blue", "navy", "indigo", "dark blue", "sky blue"),
    "green": ("green", "olive", "lime", "mint", "emerald", "light green"),
    "gray": ("gray", "grey", "charcoal", "dark grey"),
    "pink": ("pink", "fuchsia", "hot pink"),
    "brown": ("brown", "chocolate"),
    "": ("orange", "beige", "khaki", "tan", "camel", "cream", "ivory", "gold", "silver", "peach", "coral", "teal", "turquoise"),
}
NAMES = {word: name for name, words in COLOURS.items() for word in words}
UPPERS = """shirt, dress shirt, flannel, blouse, top, crop top, jersey, vest, poncho, t-shirt, tank top, polo shirt, camisole, halter,
hoodie, sweater, sweatshirt, pullover, cardigan, turtleneck, jacket, coat, parka, raincoat, overcoat, windbreaker, blazer,
suit jacket, jean jacket, long-sleeved shirt, short-sleeved blouse, sleeveless top"""
LOWERS = """jeans, pants, trousers, slacks, leggings, sweatpants, joggers, chinos, corduroys, shorts, short pants, cargo shorts, swim
trunks, capris, cropped pants, skirt, miniskirt, kilt, long skirt, short skirt, knee-length skirt"""
WHOLES = "dress, sundress, gown, suit, tuxedo, tracksuit, jumpsuit, romper, robe, sari, swimsuit, uniform, outfit, long dress, short dress"
THINGS = (
    "a hat",
    "a cap",
    "a backpack",
    "a handbag",
    "a purse",
    "a tote bag",
    "a suitcase",
    "a red umbrella",
    "an ice cream",
    "a phone",
    "a dog",
)
SUBJECTS = (
    "man",
    "woman",
    "elderly man",
    "young woman",
    "boy",
    "girl",
    "little girl",
    "teenage boy",
    "gentleman",
    "lady",
    "middle-aged woman",
)
FORMS = (
    "{who} wearing {clothes} carrying {thing}",
    "{who} in {clothes} with {thing}",
    "{who} with {thing}, dressed in {clothes}",
    "{who} walking down the street in {clothes} and holding {thing}",
    "{who} is carrying {thing} and wears {clothes}",
    "{who} has {thing}. {he} is wearing {clothes}",
)
SWAPS = {"man": "woman", "boy": "girl", "lady": "gentleman", "he": "she", "his": "her"}
SWAPPED = SWAPS | {b: a for a, b in SWAPS.items()}


def a(noun: str) -> str:
    """With its article; what comes in pairs has none."""
    return noun if noun.endswith("s") and not noun.endswith("dress") else f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


@dataclass(frozen=True)
class Garment:
    """colour: as it is written, "" for none; noun: with what else stands before it."""

    colour: str
    noun: str

    def __str__(self) -> str:
        return a(f"{self.colour} {self.noun}".strip())

    @property
    def stated(self) -> set[str]:
        return {NAMES[self.colour]} if self.colour else set()


def garments(nouns: str) -> st.SearchStrategy[Garment]:
    """Two of three coloured."""
    return st.builds(
        Garment,
        st.sampled_from(list(COLOURS)).flatmap(lambda name: st.sampled_from(("", *COLOURS[name] * 2))),
        st.builds("{}{}".format, st.sampled_from(("", "", "plaid ", "leather ")), st.sampled_from(re.split(r",\s+", nouns))),
    )


@dataclass(frozen=True)
class Described:
    """One person; lower is None where upper is of both groups."""

    form: str
    who: str
    upper: Garment
    lower: Garment | None
    thing: str
    lower_first: bool = False

    @property
    def he(self) -> str:
        return "he" if self.who.endswith((" man", " boy", " gentleman")) else "she"

    @property
    def clothes(self) -> str:
        worn = [str(garment) for garment in (self.upper, self.lower) if garment is not None]
        return " and ".join(reversed(worn) if self.lower_first else worn)

    def __str__(self) -> str:
        return self.form.format(who=self.who, he=self.he, clothes=self.clothes, thing=self.thing)


subjects = st.builds("{} {}".format, st.sampled_from(("a", "the")), st.sampled_from(SUBJECTS))
uppers, lowers, wholes = garments(UPPERS), garments(LOWERS), garments(WHOLES)
things = st.sampled_from(THINGS)
pairs = st.builds(Described, st.sampled_from(FORMS), subjects, uppers, lowers, things, st.booleans())
people = pairs | st.builds(Described, st.sampled_from(FORMS), subjects, wholes, st.none(), things)
captions = people.map(str)
