"""What is said of the main subject -> the 27 labels (guideline sections 3 to 6)."""

from dataclasses import dataclass, field
from functools import cache

from generation.annotation.lexicon import Entry
from generation.annotation.phrases import phrases
from generation.annotation.runs import Phrase
from generation.annotation.subject import Subject
from pipeline.contracts.attributes import LOWER_COLOURS, UPPER_COLOURS

_SPACES = {"upper": UPPER_COLOURS, "lower": LOWER_COLOURS}
LONG_SHORTS = "long shorts"  # their "long" makes them no longer than shorts
_BAG_KINDS = ("backpack", "handbag", "bag")


@dataclass(slots=True)
class _Garment:
    """A worn garment, or several between which the caption leaves a choice (fields that differ are None)."""

    part: str
    sleeve: int | None
    type: int | None
    length: int | None
    colours: list[str]
    is_open_choice: bool
    excepted: bool


@dataclass(slots=True)
class _Facts:
    """Everything collected before labels are decided."""

    garments: list[_Garment] = field(default_factory=list)
    everywhere: list[list[str]] = field(default_factory=list)  # colours of all the clothes
    everywhere_open: bool = False
    has: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in ("hat", *_BAG_KINDS)})
    lacks: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in ("hat", *_BAG_KINDS)})
    hair: set[int] = field(default_factory=set)
    sleeves: list[int] = field(default_factory=list)  # stated of no garment


@dataclass(frozen=True, slots=True)
class Stated:
    """What a caption states. labels: name -> 0 or 1, without colours; upper, lower: colours of the garments, None where none is stated."""

    labels: dict[str, int]
    upper: tuple[str, ...] | None = None
    lower: tuple[str, ...] | None = None


def stated_by(tokens: list[Entry], subject: Subject) -> Stated:
    """Everything that the caption states of its subject."""
    found = {"gender": subject.gender, "age": subject.age}
    labels = {name: value for name, value in found.items() if value is not None}
    if subject.plural:
        return Stated(labels)
    facts = _collect(tokens, subject.owned)
    labels |= _hair(facts) | _carried(facts) | _sleeves(facts) | _lower(facts)
    return Stated(labels, _stated_colours(facts, "upper"), _stated_colours(facts, "lower"))


def _collect(tokens: list[Entry], owned: list[bool]) -> _Facts:
    facts = _Facts()
    last: Phrase | None = None
    garment_of: dict[int, _Garment] = {}
    for phrase in phrases(tokens):
        if not owned[phrase.start]:
            last = None
            continue
        if phrase.head is None:
            _add_headless(facts, phrase, garment_of)
            continue
        _add_item(facts, phrase, last, garment_of)
        last = phrase if phrase.head.kind not in ("part", "sleeve") else last
    return facts


def _add_headless(facts: _Facts, phrase: Phrase, garment_of: dict[int, _Garment]) -> None:
    """Colours or sizes without a noun: of a noun before ("his pants are grey") or of all the clothes ("in black")."""
    target = phrase.predicate_of
    if phrase.negated:
        return
    if target is not None:
        garment = garment_of.get(id(target))
        if garment is not None:
            garment.colours += phrase.colours
            garment.is_open_choice |= phrase.is_open_choice
            garment.sleeve = garment.sleeve if phrase.sleeve is None else phrase.sleeve
            garment.length = phrase.size if phrase.has_size and garment.part != "upper" else garment.length
        elif target.head is not None and target.head.kind == "hair" and phrase.size is not None:
            facts.hair.add(1 - phrase.size)  # sizes count long as 0, hair_length as 1
    elif phrase.sleeve is not None and not phrase.everywhere:
        facts.sleeves.append(phrase.sleeve)  # "with spaghetti straps"
    elif phrase.everywhere and phrase.colours and phrase.relation != "placed":
        facts.everywhere.append(phrase.colours)
        facts.everywhere_open |= phrase.is_open_choice


def _add_item(facts: _Facts, phrase: Phrase, last: Phrase | None, garment_of: dict[int, _Garment]) -> None:
    head = phrase.head
    assert head is not None
    if head.kind == "garment":
        _add_garment(facts, phrase, head, last, garment_of)
    elif head.kind in ("sleeve", "part"):
        _add_part(facts, phrase, head, garment_of.get(id(last)) if last is not None else None)
    elif head.kind == "hair" and phrase.relation not in ("held", "other"):
        _add_hair(facts, phrase)
    elif head.kind == "hairstyle" and not phrase.negated and phrase.relation == "worn" and head.value is not None:
        facts.hair.add(head.value)
    elif head.kind == "no_hat":
        facts.lacks["hat"].add("hat")
    elif head.kind in ("hat", "headwear"):
        _add_hat(facts, phrase, head)
    elif head.kind == "bag":
        _add_bag(facts, phrase, head, last)


def _add_garment(facts: _Facts, phrase: Phrase, head: Entry, last: Phrase | None, garment_of: dict[int, _Garment]) -> None:
    if phrase.negated or phrase.relation != "worn":
        return
    sleeve = head.sleeve if phrase.sleeve is None else phrase.sleeve
    length = head.length
    if phrase.has_size and head.part != "upper" and head.text != LONG_SHORTS:
        length = phrase.size if head.type == 0 else _trouser_length(head, phrase.size)
    garment = _Garment(head.part, sleeve, head.type, length, list(phrase.colours), phrase.is_open_choice, phrase.excepted)
    garment_of[id(phrase)] = garment
    other = garment_of.get(id(last)) if last is not None and phrase.or_before else None
    if other is not None:
        _leave_open(other, garment)
    else:
        facts.garments.append(garment)


def _trouser_length(head: Entry, size: int | None) -> int | None:
    """Short pants are shorts; long shorts are shorts still; cropped pants are neither long nor short."""
    return 1 if size == 1 else None if size is None and head.length == 0 else head.length


def _leave_open(one: _Garment, other: _Garment) -> None:
    """ "a jacket or a hoodie": only what both share is known."""
    one.sleeve = one.sleeve if one.sleeve == other.sleeve else None
    one.type = one.type if one.type == other.type else None
    one.length = one.length if one.length == other.length else None
    one.is_open_choice |= other.is_open_choice or set(one.colours) != set(other.colours)


def _add_part(facts: _Facts, phrase: Phrase, head: Entry, garment: _Garment | None) -> None:
    """Sleeves, collars, stripes: their colours count for the garment they follow."""
    sleeve = phrase.sleeve
    if head.kind == "sleeve" and phrase.negated:
        sleeve = 1  # "without sleeves"
    if garment is not None:
        garment.sleeve = garment.sleeve if sleeve is None else sleeve
        if not phrase.negated:
            garment.colours += phrase.colours
    elif head.kind == "sleeve" and sleeve is not None and phrase.relation == "worn":
        facts.sleeves.append(sleeve)


def _add_hair(facts: _Facts, phrase: Phrase) -> None:
    if phrase.negated:
        if phrase.size is None and not phrase.colours:
            facts.hair.add(0)  # "no hair"
    elif phrase.size is not None:
        facts.hair.add(1 - phrase.size)


def _add_hat(facts: _Facts, phrase: Phrase, head: Entry) -> None:
    if phrase.negated:
        if head.absent or head.kind == "headwear":
            facts.lacks["hat"].add(_last_word(head))
    elif head.kind == "hat" and phrase.relation == "worn":
        facts.has["hat"].add(_last_word(head))


def _add_bag(facts: _Facts, phrase: Phrase, head: Entry, last: Phrase | None) -> None:
    if phrase.negated:
        if head.absent:
            facts.lacks[head.item].add(_last_word(head))
        if phrase.of_any_kind and head.item == "bag":
            for kind in _BAG_KINDS:
                facts.lacks[kind].add("bag")
    elif phrase.relation in ("worn", "held"):
        is_alternative = (
            phrase.or_before and last is not None and last.head is not None and last.head.kind == "bag" and last.head.item != head.item
        )
        if is_alternative and last is not None and last.head is not None:
            facts.has[last.head.item].discard(_last_word(last.head))
        else:
            facts.has[head.item].add(_last_word(head))


def _last_word(head: Entry) -> str:
    return head.text.split()[-1]


def _hair(facts: _Facts) -> dict[str, int]:
    return {"hair_length": next(iter(facts.hair))} if len(facts.hair) == 1 else {}


def _carried(facts: _Facts) -> dict[str, int]:
    """0 has it, 1 stated to be without it; the same word both ways says nothing (R7), another word of the class wins (R9)."""
    labels = {}
    for name in facts.has:
        has, lacks = facts.has[name], facts.lacks[name]
        if has and not has & lacks:
            labels[name] = 0
        elif lacks and not has:
            labels[name] = 1
    return labels


def _sleeves(facts: _Facts) -> dict[str, int]:
    values = [g.sleeve for g in facts.garments if g.sleeve is not None] + facts.sleeves
    return {"sleeve_length": min(values)} if values else {}  # any long one makes the outer layer long


def _lower(facts: _Facts) -> dict[str, int]:
    worn = [g for g in facts.garments if g.type is not None]
    if not worn:
        return {}
    labels = {"lower_type": min(g.type for g in worn if g.type is not None)}
    skirt_lengths = {g.length for g in worn if g.type == 0 and g.length is not None}
    lengths = skirt_lengths or {g.length for g in worn if g.type == 1 and g.length is not None}
    if len(lengths) == 1:
        labels["lower_length"] = lengths.pop()
    return labels


def _stated_colours(facts: _Facts, part: str) -> tuple[str, ...] | None:
    """The colours by which a group is labelled, or None: it stays unlabelled."""
    garments = [g for g in facts.garments if g.part == part or g.part == "both"]
    excepted = [g for g in garments if g.excepted and g.part == part]
    chosen = excepted or garments
    stated = [c for g in chosen for c in g.colours]
    is_open = any(g.is_open_choice for g in chosen)
    if not excepted:
        stated += [c for colours in facts.everywhere for c in colours]
        is_open = is_open or facts.everywhere_open
    return None if not stated or is_open else tuple(stated)


@cache
def colour_group(part: str, stated: frozenset[str]) -> dict[str, int]:
    """All labels of a group (C1): 0 for stated colours, 1 for the others. Not to be changed by the caller."""
    return {f"{part}_{colour}": 0 if colour in stated else 1 for colour in _SPACES[part]}
