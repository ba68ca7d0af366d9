"""The noun phrases that are said of the main subject, gathered until the labels can be decided (guideline sections 3 to 6)."""

from collections.abc import Iterable
from dataclasses import dataclass

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.runs import Phrase
from generation.annotation.worn import Look, Looks

BAG_KINDS = ("backpack", "handbag", "bag")
_ON_GARMENTS = frozenset({"part", "sleeve", "aside"})  # "blue on the front with grey sleeves"

Colours = tuple[str, ...]
Things = tuple[tuple[str, str], ...]  # (hat or kind of bag, word)


@dataclass(slots=True)
class _Garment:
    """A worn garment, or several between which the caption leaves a choice."""

    part: str
    look: Look
    colours: Colours
    is_open_choice: bool
    excepted: bool


class Facts:
    """Everything said of the subject so far; phrases come in the order of the text.

    hair: lengths that are stated, 0 short and 1 long; has, lacks: things carried; sleeves: their lengths, stated of no garment.
    """

    __slots__ = (
        "_before",
        "_described",
        "_everywhere",
        "_everywhere_is_open",
        "_garment_before",
        "_garments",
        "_has_exception",
        "_thing",
        "_worn_thing",
        "hair",
        "has",
        "lacks",
        "sleeves",
    )

    def __init__(self) -> None:
        self.hair: tuple[int, ...] = ()
        self.has: Things = ()
        self.lacks: Things = ()
        self.sleeves: tuple[int, ...] = ()
        self._garments: list[_Garment] = []
        self._has_exception = False
        self._everywhere: Colours = ()  # colours of all the clothes
        self._everywhere_is_open = False
        # The noun phrase before, to which a colour may be said ("his coat is red"), and the one before that is no part of a garment.
        self._before: Phrase | None = None
        self._garment_before: _Garment | None = None
        self._thing: Phrase | None = None
        self._worn_thing: _Garment | None = None
        self._described: Phrase | None = None  # of which a colour or size was said last

    def add(self, phrase: Phrase, colours: Colours) -> None:
        """Take in the next noun phrase, with the names of its colours."""
        says = phrase.says
        if phrase.look is not None:
            self._thing = self._before = phrase
            self._worn_thing = self._garment_before = self._add_garment(phrase, phrase.look, colours)
            return
        if says in _ADDERS:
            _ADDERS[says](self, phrase, colours)
            if says == "headless":
                return
        self._before, self._garment_before = phrase, None
        if says not in _ON_GARMENTS:
            self._thing, self._worn_thing = phrase, None

    def add_of_another(self, phrase: Phrase) -> None:
        """A noun phrase that is somebody else's ends what came before."""
        self._thing = self._worn_thing = None
        if phrase.head is not None:
            self._before, self._garment_before = phrase, None

    def _add_headless(self, phrase: Phrase, colours: Colours) -> None:
        """Colours or sizes without a noun: of a noun before ("his pants are grey") or of all the clothes ("in black")."""
        if phrase.negated:
            return
        if phrase.is_predicate:
            self._add_predicate(phrase, colours)
        elif phrase.sleeve is not None and not (phrase.everywhere and colours):
            self.sleeves += (phrase.sleeve,)  # "with spaghetti straps"
        elif phrase.everywhere and phrase.colours and phrase.relation != "placed":
            self._everywhere += colours
            self._everywhere_is_open |= _is_open(phrase, colours)

    def _add_predicate(self, phrase: Phrase, colours: Colours) -> None:
        garment, before = self._garment_before, self._before
        if phrase.resumes and before is not self._described:
            garment = self._worn_thing = self._interrupted(garment, before)
        self._described = before
        if garment is not None:
            garment.colours += colours
            garment.is_open_choice |= _is_open(phrase, colours)
            if phrase.sleeve is not None:
                garment.look = garment.look._replace(sleeve=phrase.sleeve)
            if phrase.has_size and garment.part != "upper":
                garment.look = garment.look._replace(length=phrase.size)
        elif before is not None and self._worn_thing is not None and (before.says in ("part", "sleeve") or _is_side(before)):
            self._worn_thing.colours += colours  # "its sleeves are white", "the back is white"
            if before.says == "sleeve" and phrase.size is not None:
                self._worn_thing.look = self._worn_thing.look._replace(sleeve=phrase.size)  # of sizes, too, 0 is long
        elif before is not None and before.head is not None and before.head.kind == "hair" and phrase.size is not None:
            self.hair += (1 - phrase.size,)  # sizes count long as 0, hair_length as 1

    def _interrupted(self, garment: _Garment | None, before: Phrase | None) -> _Garment | None:
        """ "his | shirt, open over a tee, is grey"; none of "his cap, low on his head, is grey". garment: the noun before, if it is one."""
        if before is not None and before.says in _ON_GARMENTS:
            return self._worn_thing
        earlier = self._garments if garment is None else self._garments[:-1]
        return earlier[-1] if earlier else garment

    def _add_garment(self, phrase: Phrase, look: Look, colours: Colours) -> _Garment:
        garment = _Garment(look.part, look, colours, phrase.is_open_choice and _is_open(phrase, colours), phrase.excepted)
        if phrase.excepted:
            self._has_exception = True
        if phrase.or_before and self._worn_thing is not None:
            _leave_open(self._worn_thing, garment)
        else:
            self._garments.append(garment)
        return garment

    def _add_part(self, phrase: Phrase, colours: Colours) -> None:
        """Sleeves, collars, stripes: their colours count for the garment they follow."""
        sleeve, garment = phrase.sleeve, self._worn_thing
        if phrase.says == "sleeve" and phrase.negated:
            sleeve = 1  # "without sleeves"
        if garment is not None:
            if sleeve is not None:
                garment.look = garment.look._replace(sleeve=sleeve)
            if not phrase.negated and (phrase.relation == "worn" or phrase.word not in spelt("scenery")):  # "holding yellow flowers"
                garment.colours += colours
        elif phrase.says == "sleeve" and sleeve is not None and phrase.relation == "worn":
            self.sleeves += (sleeve,)

    def _add_hair(self, phrase: Phrase, colours: Colours) -> None:
        if phrase.relation in ("held", "other"):
            return
        if phrase.negated:
            if phrase.size is None and not phrase.colours:
                self.hair += (0,)  # "no hair"
        elif phrase.size is not None:
            self.hair += (1 - phrase.size,)

    def _add_hairstyle(self, phrase: Phrase, colours: Colours) -> None:
        value = _head(phrase).value
        if not phrase.negated and value is not None:  # whatever is done: "running, ponytail", "cut into a bob"
            self.hair += (value,)

    def _add_no_thing(self, phrase: Phrase, colours: Colours) -> None:
        item = _head(phrase).item
        self.lacks += ((item, item),)

    def _add_hat(self, phrase: Phrase, colours: Colours) -> None:
        head = _head(phrase)
        if phrase.negated:
            if head.absent or head.kind == "headwear":
                self.lacks += (("hat", phrase.word),)
        elif head.kind == "hat" and phrase.relation == "worn":
            self.has += (("hat", phrase.word),)

    def _add_bag(self, phrase: Phrase, colours: Colours) -> None:
        head = _head(phrase)
        if phrase.negated:
            if head.absent:
                self.lacks += ((head.item, phrase.word),)
            if phrase.of_any_kind and head.item == "bag":
                self.lacks += tuple((kind, "bag") for kind in BAG_KINDS)
        elif phrase.relation in ("worn", "held"):
            other = self._thing if phrase.or_before else None
            if other is not None and other.head is not None and other.head.kind == "bag" and other.head.item != head.item:
                self.has = tuple(thing for thing in self.has if thing != (other.head.item, other.word))  # either of them
            else:
                self.has += ((head.item, phrase.word),)

    def looks(self) -> Looks:
        """Of all that is worn."""
        return tuple([garment.look for garment in self._garments])

    def colours(self) -> tuple[Colours, Colours]:
        """The colours by which the upper and the lower body are labelled; none: they stay unlabelled."""
        upper, lower = _colours_of(self._garments, self._everywhere, self._everywhere_is_open)
        if self._has_exception:  # "all black except for a red jacket"
            upper = self._excepted("upper", upper)
            lower = self._excepted("lower", lower)
        return upper, lower

    def _excepted(self, part: str, stated: Colours) -> Colours:
        garments = [garment for garment in self._garments if garment.excepted and garment.part == part]
        return _colours_of(garments, (), is_open=False)[part == "lower"] if garments else stated


_ADDERS = {
    "headless": Facts._add_headless,
    "sleeve": Facts._add_part,
    "part": Facts._add_part,
    "hair": Facts._add_hair,
    "hairstyle": Facts._add_hairstyle,
    "no_thing": Facts._add_no_thing,
    "hat": Facts._add_hat,
    "headwear": Facts._add_hat,
    "bag": Facts._add_bag,
}


def _is_open(phrase: Phrase, colours: Colours) -> bool:
    """ "black or blue", but not "red or maroon"."""
    return phrase.is_open_choice and len(set(colours)) > 1


def _is_side(phrase: Phrase) -> bool:
    """ "the back (of a shirt) is white"."""
    return phrase.says == "aside" and phrase.head is not None and phrase.head.kind == "body"


def _head(phrase: Phrase) -> Entry:
    assert phrase.head is not None
    return phrase.head


def _leave_open(one: _Garment, other: _Garment) -> None:
    """ "a jacket or a hoodie"."""
    one.look = one.look.shared(other.look)
    one.is_open_choice |= other.is_open_choice or set(one.colours) != set(other.colours)


def _colours_of(garments: Iterable[_Garment], stated: Colours, is_open: bool) -> tuple[Colours, Colours]:
    """Of the upper and of the lower body, with what is stated of all; none where a choice is left."""
    upper = lower = stated
    upper_is_open = lower_is_open = is_open
    for garment in garments:
        if garment.part in ("upper", "both"):
            upper += garment.colours
            upper_is_open = upper_is_open or garment.is_open_choice
        if garment.part in ("lower", "both"):
            lower += garment.colours
            lower_is_open = lower_is_open or garment.is_open_choice
    return () if upper_is_open else upper, () if lower_is_open else lower
