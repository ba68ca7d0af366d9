"""What a worn garment is: where it is worn, and how long it and its sleeves are (guideline sections 5 and 6)."""

from typing import NamedTuple

from generation.annotation.lexicon import Entry

Looks = tuple["Look", ...]


class Look(NamedTuple):
    """None: not stated, or a choice is left."""

    part: str  # upper, lower, both; empty: not stated
    sleeve: int | None
    type: int | None
    length: int | None

    def shared(self, other: "Look") -> "Look":
        """ "a jacket or a hoodie": only what both share is known."""
        return Look(self.part, *(mine if mine == its else None for mine, its in zip(self[1:], other[1:], strict=True)))


def look_of(garment: Entry, sleeve: int | None, size: int | None, has_size: bool) -> Look:
    """sleeve, size: what the words before the garment say; has_size: there are such of a size."""
    length = garment.length
    if has_size and garment.part != "upper":
        length = size if garment.type == 0 else _trouser_length(garment, size)
    return Look(garment.part, garment.sleeve if sleeve is None else sleeve, garment.type, length)


def _trouser_length(trousers: Entry, size: int | None) -> int | None:
    """Short pants are shorts; long shorts are shorts still; cropped pants are neither long nor short."""
    return 1 if size == 1 else None if size is None and trousers.length == 0 else trousers.length


def lengths_of(worn: Looks, sleeves: tuple[int, ...]) -> tuple[int | None, int | None, int | None]:
    """The sleeves' length, length and type of what is worn on the legs. sleeves: such as are stated of no garment."""
    lengths = [*sleeves, *(look.sleeve for look in worn if look.sleeve is not None)]
    return min(lengths, default=None), *_lower_body([look for look in worn if look.type is not None])  # long (0) is the outer layer


def _lower_body(worn: list[Look]) -> tuple[int | None, int | None]:
    """(length, type). A dress or skirt over trousers decides both, if its length is stated."""
    if len(worn) < 2:
        return (worn[0].length, worn[0].type) if worn else (None, None)
    lengths = {look.length for look in worn if look.type == 0 and look.length is not None}
    lengths = lengths or {look.length for look in worn if look.length is not None}
    return lengths.pop() if len(lengths) == 1 else None, min(look.type for look in worn if look.type is not None)
