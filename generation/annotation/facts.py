"""The noun phrases that are said of the main subject, gathered until the labels can be decided (guideline sections 3 to 6)."""

from dataclasses import dataclass
from functools import cache

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.remembered import Remembered
from generation.annotation.runs import Phrase

_BAG_KINDS = ("backpack", "handbag", "bag")
CARRIED = ("hat", *_BAG_KINDS)
_ON_GARMENTS = frozenset({"part", "sleeve", "aside"})  # "blue on the front with grey sleeves"
_NOTHING_CARRIED = (None,) * len(CARRIED)

Colours = tuple[str, ...]
Things = tuple[tuple[str, str], ...]  # (hat or kind of bag, word)


@dataclass(slots=True)
class _Garment:
    """A worn garment, or several between which the caption leaves a choice (fields that differ are None)."""

    part: str
    sleeve: int | None
    type: int | None
    length: int | None
    colours: Colours
    is_open_choice: bool
    excepted: bool


class Facts:
    """Everything said of the subject so far; phrases come in the order of the text."""

    __slots__ = (
        "_before",
        "_described",
        "_everywhere",
        "_everywhere_is_open",
        "_garment_before",
        "_garments",
        "_hair",
        "_has",
        "_has_exception",
        "_lacks",
        "_sleeves",
        "_thing",
        "_worn_thing",
    )

    def __init__(self) -> None:
        self._garments: list[_Garment] = []
        self._has_exception = False
        self._everywhere: Colours = ()  # colours of all the clothes
        self._everywhere_is_open = False
        self._has: list[tuple[str, str]] = []
        self._lacks: list[tuple[str, str]] = []
        self._hair: set[int] = set()
        self._sleeves: list[int] = []  # stated of no garment
        # The noun phrase before, to which a colour may be said ("his coat is red"), and the one before that is no part of a garment.
        self._before: Phrase | None = None
        self._garment_before: _Garment | None = None
        self._thing: Phrase | None = None
        self._worn_thing: _Garment | None = None
        self._described: Phrase | None = None  # of which a colour or size was said last

    def add(self, phrase: Phrase, colours: Colours) -> None:
        """Take in the next noun phrase, with the names of its colours."""
        garment = None
        says = phrase.says
        if says == "garment":
            garment = self._add_garment(phrase, colours)
        elif says and says != "aside":
            _ADDERS[says](self, phrase, colours)
            if says == "headless":
                return
        if says not in _ON_GARMENTS:
            self._thing, self._worn_thing = phrase, garment
        self._before, self._garment_before = phrase, garment

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
            self._sleeves.append(phrase.sleeve)  # "with spaghetti straps"
        elif phrase.everywhere and phrase.colours and phrase.relation != "placed":
            self._everywhere += colours
            self._everywhere_is_open |= _is_open(phrase, colours)

    def _add_predicate(self, phrase: Phrase, colours: Colours) -> None:
        garment, before = self._garment_before, self._before
        if phrase.resumes and before is not self._described:
            garment = self._worn_thing = self._interrupted(garment)
        self._described = before
        if garment is not None:
            garment.colours += colours
            garment.is_open_choice |= _is_open(phrase, colours)
            garment.sleeve = garment.sleeve if phrase.sleeve is None else phrase.sleeve
            garment.length = phrase.size if phrase.has_size and garment.part != "upper" else garment.length
        elif before is not None and self._worn_thing is not None and (before.says in ("part", "sleeve") or _is_side(before)):
            self._worn_thing.colours += colours  # "its sleeves are white", "the back is white"
            if before.says == "sleeve" and phrase.size is not None:
                self._worn_thing.sleeve = phrase.size  # "its sleeves are short": of sizes, too, 0 is long
        elif before is not None and before.head is not None and before.head.kind == "hair" and phrase.size is not None:
            self._hair.add(1 - phrase.size)  # sizes count long as 0, hair_length as 1

    def _interrupted(self, garment: _Garment | None) -> _Garment | None:
        """ "his | shirt, open over a tee, is grey". garment: the noun before, if it is one."""
        earlier = self._garments if garment is None else self._garments[:-1]
        return earlier[-1] if earlier else garment

    def _add_garment(self, phrase: Phrase, colours: Colours) -> _Garment:
        head = phrase.head
        assert head is not None
        sleeve = head.sleeve if phrase.sleeve is None else phrase.sleeve
        length = head.length
        if phrase.has_size and head.part != "upper":
            length = phrase.size if head.type == 0 else _trouser_length(head, phrase.size)
        is_open = phrase.is_open_choice and _is_open(phrase, colours)
        garment = _Garment(head.part, sleeve, head.type, length, colours, is_open, phrase.excepted)
        self._has_exception = self._has_exception or phrase.excepted
        other = self._worn_thing if phrase.or_before else None
        if other is not None:
            _leave_open(other, garment)
        else:
            self._garments.append(garment)
        return garment

    def _add_part(self, phrase: Phrase, colours: Colours) -> None:
        """Sleeves, collars, stripes: their colours count for the garment they follow."""
        sleeve, garment = phrase.sleeve, self._worn_thing
        if phrase.says == "sleeve" and phrase.negated:
            sleeve = 1  # "without sleeves"
        if garment is not None:
            garment.sleeve = garment.sleeve if sleeve is None else sleeve
            if not phrase.negated and (phrase.relation == "worn" or phrase.word not in spelt("scenery")):  # "holding yellow flowers"
                garment.colours += colours
        elif phrase.says == "sleeve" and sleeve is not None and phrase.relation == "worn":
            self._sleeves.append(sleeve)

    def _add_hair(self, phrase: Phrase, colours: Colours) -> None:
        if phrase.relation in ("held", "other"):
            return
        if phrase.negated:
            if phrase.size is None and not phrase.colours:
                self._hair.add(0)  # "no hair"
        elif phrase.size is not None:
            self._hair.add(1 - phrase.size)

    def _add_hairstyle(self, phrase: Phrase, colours: Colours) -> None:
        value = _head(phrase).value
        if not phrase.negated and value is not None:  # whatever is done: "running, ponytail", "cut into a bob"
            self._hair.add(value)

    def _add_no_hat(self, phrase: Phrase, colours: Colours) -> None:
        self._lacks.append(("hat", "hat"))

    def _add_hat(self, phrase: Phrase, colours: Colours) -> None:
        head = _head(phrase)
        if phrase.negated:
            if head.absent or head.kind == "headwear":
                self._lacks.append(("hat", phrase.word))
        elif head.kind == "hat" and phrase.relation == "worn":
            self._has.append(("hat", phrase.word))

    def _add_bag(self, phrase: Phrase, colours: Colours) -> None:
        head = _head(phrase)
        if phrase.negated:
            if head.absent:
                self._lacks.append((head.item, phrase.word))
            if phrase.of_any_kind and head.item == "bag":
                self._lacks += [(kind, "bag") for kind in _BAG_KINDS]
        elif phrase.relation in ("worn", "held"):
            other = self._thing if phrase.or_before else None
            if other is not None and other.head is not None and other.head.kind == "bag" and other.head.item != head.item:
                self._has = [thing for thing in self._has if thing != (other.head.item, other.word)]  # either of them
            else:
                self._has.append((head.item, phrase.word))

    def hair_length(self) -> int | None:
        return next(iter(self._hair)) if len(self._hair) == 1 else None

    def carried(self) -> tuple[int | None, ...]:
        """Hat, backpack, handbag, bag: 0 has it, 1 stated to be without it."""
        return _carried()[tuple(self._has), tuple(self._lacks)] if self._has or self._lacks else _NOTHING_CARRIED

    def sleeve_length(self) -> int | None:
        shortest = min(self._sleeves) if self._sleeves else None
        for garment in self._garments:
            if garment.sleeve is not None and (shortest is None or garment.sleeve < shortest):
                shortest = garment.sleeve  # any long one (0) makes the outer layer long
        return shortest

    def lower_body(self) -> tuple[int | None, int | None]:
        """(length, type). A dress or skirt over trousers decides both, if its length is stated."""
        worn = [garment for garment in self._garments if garment.type is not None]
        if len(worn) < 2:
            return (worn[0].length, worn[0].type) if worn else (None, None)
        lengths = {g.length for g in worn if g.type == 0 and g.length is not None} or {g.length for g in worn if g.length is not None}
        return lengths.pop() if len(lengths) == 1 else None, min(g.type for g in worn if g.type is not None)

    def stated_colours(self, part: str) -> Colours:
        """The colours by which a group is labelled; none: it stays unlabelled."""
        garments, stated, is_open = self._garments, self._everywhere, self._everywhere_is_open
        if self._has_exception and (excepted := [g for g in garments if g.excepted and g.part == part]):
            garments, stated, is_open = excepted, (), False
        for garment in garments:
            if garment.part == part or garment.part == "both":
                stated += garment.colours
                is_open = is_open or garment.is_open_choice
        return () if is_open else stated


_ADDERS = {
    "headless": Facts._add_headless,
    "sleeve": Facts._add_part,
    "part": Facts._add_part,
    "hair": Facts._add_hair,
    "hairstyle": Facts._add_hairstyle,
    "no_hat": Facts._add_no_hat,
    "hat": Facts._add_hat,
    "headwear": Facts._add_hat,
    "bag": Facts._add_bag,
}


def _is_open(phrase: Phrase, colours: Colours) -> bool:
    """ "black or blue", but not "red or maroon"."""
    return phrase.is_open_choice and len(set(colours)) > 1


@cache
def _carried() -> Remembered[tuple[Things, Things], tuple[int | None, ...]]:
    return Remembered(_carried_by)


def _carried_by(things: tuple[Things, Things]) -> tuple[int | None, ...]:
    """(what the subject has, what it lacks) -> as in `Facts.carried`."""
    has, lacks = things
    stated: dict[str, int | None] = {kind: 1 for kind, _ in lacks}
    for kind, _ in has:
        stated[kind] = 0  # another word of the class wins over an absence (R9)
    for thing in lacks:
        if thing in has:
            stated[thing[0]] = None  # the same word both ways says nothing (R7)
    return tuple(map(stated.get, CARRIED))


def _is_side(phrase: Phrase) -> bool:
    """ "the back (of a shirt) is white"."""
    return phrase.says == "aside" and phrase.head is not None and phrase.head.kind == "body"


def _head(phrase: Phrase) -> Entry:
    assert phrase.head is not None
    return phrase.head


def _trouser_length(head: Entry, size: int | None) -> int | None:
    """Short pants are shorts; long shorts are shorts still; cropped pants are neither long nor short."""
    return 1 if size == 1 else None if size is None and head.length == 0 else head.length


def _leave_open(one: _Garment, other: _Garment) -> None:
    """ "a jacket or a hoodie": only what both share is known."""
    one.sleeve = one.sleeve if one.sleeve == other.sleeve else None
    one.type = one.type if one.type == other.type else None
    one.length = one.length if one.length == other.length else None
    one.is_open_choice |= other.is_open_choice or set(one.colours) != set(other.colours)
