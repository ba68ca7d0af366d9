"""One noun phrase: a run of adjectives, colours and nouns, and the noun that heads it (guideline C3, C4)."""

from dataclasses import dataclass

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.worn import Look

NOUNS = frozenset(
    {
        "garment",
        "hat",
        "bag",
        "hair",
        "hairstyle",
        "accessory",
        "part",
        "sleeve",
        "body",
        "surface",
        "figure",
        "headwear",
        "no_thing",
        "picture",
    }
)
MODIFIERS = frozenset({"colour", "modifier", "size", "sleeve_word", "age", "number"})
_COMPOUND_HEADS = frozenset(
    {"accessory", "part", "body", "surface", "picture", "figure"}
)  # may stand before another noun: "graphic tshirt"


@dataclass(slots=True)
class Phrase:
    """tokens[start:end]. head None: colours or sizes without a noun. Phrases are remembered: nobody changes one that is complete."""

    start: int
    end: int
    head: Entry | None
    colours: tuple[int, ...] = ()  # places of the colour words
    is_open_choice: bool = False  # "black or blue"
    size: int | None = None
    has_size: bool = False
    sleeve: int | None = None
    relation: str = "worn"  # worn, held, placed (somewhere else), other (object of another verb)
    negated: bool = False
    excepted: bool = False  # "all black except for a red hat"
    everywhere: bool = False  # headless colours of all the clothes: "in black", "all white"
    or_before: bool = False  # joined by "or" to the phrase before
    of_any_kind: bool = False  # "no bag of any kind"
    word: str = ""  # last one of the head
    says: str = ""  # the kind of what it says of the subject's look, "headless" without a noun, "" if nothing
    look: Look | None = None  # of a worn garment
    is_predicate: bool = False  # headless, and said of the phrase before: "his pants are grey"
    resumes: bool = False  # said of what stands before a clause: "his shirt, open over a tee, is grey"


def parse_run(tokens: list[Entry], start: int, is_predicated: bool = False) -> Phrase | None:
    """The noun phrase that begins at `start`, article not included; None where none does.

    is_predicated: a colour here is said of a noun before, so that the way to another noun ends it: "a top in coral, long black leggings".
    """
    phrase = Phrase(start, start, None)
    head = unknown = -1
    choice = False
    i = start
    while i < len(tokens):
        kind = tokens[i].kind
        if is_predicated and tokens[i].text in spelt("predicates"):
            pass  # "her top is | a sleeveless garment"
        elif kind in NOUNS:
            if head >= 0 and not _compounds(tokens[head], tokens[i]):
                break
            head = i
        elif kind == "word":
            if head >= 0 and tokens[head].kind in ("garment", "hat", "bag", "hair", "hairstyle", "sleeve"):
                break
            unknown = i
        elif kind == "kind_of" and i > start and head < 0 and unknown < 0 and _is_noun(tokens, i + 1):
            pass  # "a purple kind of vest"
        elif kind == "number" and head >= 0 and tokens[head].kind == "accessory":
            pass  # "the number 23"
        elif kind in MODIFIERS:
            if head >= 0 and tokens[head].kind == "sleeve" and _leads_to_upper(tokens, i):
                head = -1  # "short sleeved | gray sweater"
            if (head >= 0 or unknown >= 0) and not (head < 0 and kind != "colour"):
                break
            _add_modifier(phrase, tokens, i)
            phrase.is_open_choice |= choice and kind == "colour"  # "black or dark blue"
        elif kind == "verb" and i > start and _is_noun(tokens, i + 1):
            pass  # "a black running jacket"
        elif kind in ("joiner", "comma") and head < 0 and unknown < 0 and i > start and _continues(tokens, i, is_predicated):
            choice = choice or (tokens[i].item == "or" and bool(phrase.colours))
        elif head < 0 and unknown < 0 and phrase.colours and _is_another(tokens, i, start):
            choice = tokens[i].item == "or"
            i += 1
        elif kind in ("comma", "neg") and head < 0 and unknown < 0 and phrase.colours and (after := _behind_denied_colour(tokens, i)):
            i = after - 1
        else:
            break
        i += 1
    if i == start:
        return None
    phrase.end = i
    if head >= 0:
        phrase.head = tokens[head]
    elif unknown >= 0:
        phrase.head = tokens[unknown]
    if phrase.head is not None:
        phrase.word = phrase.head.text.rpartition(" ")[2]
    _read_sleeves(tokens, phrase)
    return phrase


def _is_noun(tokens: list[Entry], i: int) -> bool:
    return i < len(tokens) and tokens[i].kind in NOUNS


def _continues(tokens: list[Entry], i: int, is_predicated: bool) -> bool:
    """A joiner or comma between adjectives: "black and white striped", "long, dark"."""
    before, after = tokens[i - 1].kind, [token.kind for token in tokens[i + 1 : i + 3]]
    is_last_comma = tokens[i].kind == "comma" and after[:1] == ["joiner"]  # "blue, white, and yellow"
    is_list = is_last_comma and _is_list(tokens, i + 2)
    if is_predicated and (is_list or leads_to_noun(tokens, i + 1 + is_last_comma)):
        return _describes_what_follows(tokens, i)
    if is_last_comma and after[1:] and after[1] in MODIFIERS:
        return before in MODIFIERS and not _is_between_commas(tokens, i)
    is_after = before in MODIFIERS or (before == "comma" and tokens[i].kind == "joiner" and tokens[i - 2].kind in MODIFIERS)
    return is_after and bool(after) and after[0] in MODIFIERS and tokens[i].item != "nor"


def _is_between_commas(tokens: list[Entry], i: int) -> bool:
    """ "a blue jacket, dark green |, and gray trousers", but not "a blue, white, and yellow jacket"."""
    i -= 1
    while i > 0 and tokens[i].kind in MODIFIERS:
        i -= 1
    return tokens[i].kind == "comma" and not (i > 0 and tokens[i - 1].kind in MODIFIERS)


def leads_to_noun(tokens: list[Entry], i: int) -> bool:
    """ "green, and | matching black shorts"."""
    while i < len(tokens) and tokens[i].kind in MODIFIERS:
        i += 1
    return _is_noun(tokens, i) or (i < len(tokens) and (tokens[i].kind == "word" or (tokens[i].kind == "verb" and _is_noun(tokens, i + 1))))


def _is_list(tokens: list[Entry], i: int) -> bool:
    """ "untucked, and | black and red shorts"."""
    return [token.kind for token in tokens[i : i + 3]] == ["colour", "joiner", "colour"] and leads_to_noun(tokens, i + 2)


def may_describe(tokens: list[Entry], i: int) -> bool:
    """The token at i may stand before a noun, as in "red | and white striped | zoo | shirts"."""
    kind, following = tokens[i].kind, tokens[i + 1].kind if i + 1 < len(tokens) else ""
    if kind == "joiner":
        return i > 0 and tokens[i - 1].kind in MODIFIERS and following in MODIFIERS
    return kind in MODIFIERS or (kind == "word" and following != "colour")


def _leads_to_upper(tokens: list[Entry], i: int) -> bool:
    """ "gray and white | sweater"."""
    i = _behind_description(tokens, i)
    return i < len(tokens) and tokens[i].part in ("upper", "both")


def _behind_description(tokens: list[Entry], i: int) -> int:
    while i < len(tokens) and may_describe(tokens, i):
        i += 1
    return i


def _describes_what_follows(tokens: list[Entry], i: int) -> bool:
    """Behind a noun: "shorts, black | and white shoes", but not "trousers blue | and muddy boots". Behind "a": "in a pink | and gold sari",
    but not "a top in a soft coral | and black jeans"."""
    first = next((j for j in range(i - 1, -1, -1) if tokens[j].kind not in MODIFIERS), -1)
    if first < 0 or tokens[first].kind in NOUNS or tokens[first].kind == "word":
        return tokens[i].kind == "joiner" and tokens[i + 1].kind == "colour"
    end = _behind_description(tokens, i + 1)
    are_trousers = end < len(tokens) and tokens[end].part == "lower" and tokens[end].type == 1
    is_unknown = tokens[i].kind == "comma" and tokens[i + 1].kind == "word"  # "in a darker beige, | pauses"
    return tokens[first].text in spelt("articles") and not are_trousers and not is_unknown


def _is_another(tokens: list[Entry], i: int, start: int) -> bool:
    """ "a brown or a dark blue jacket", "a red and a blue jacket", but not "in black and a blue jacket". start: of the phrase."""
    kinds = [token.kind for token in tokens[i + 1 : i + 4]]
    is_one = start > 0 and tokens[start - 1].text in spelt("articles") and tokens[i - 1].kind == "colour"
    is_joined = tokens[i].item == "or" or (tokens[i].item == "and" and is_one)
    return is_joined and (kinds[:2] == ["det", "colour"] or kinds == ["det", "modifier", "colour"])


def _behind_denied_colour(tokens: list[Entry], i: int) -> int:
    """ "a blue, not black, jacket": what is denied says nothing (C7). Where the phrase goes on; 0 where nothing is denied."""
    kinds = [token.kind for token in tokens[i : i + 4]]
    if kinds[:1] == ["comma"]:
        return i + 4 if kinds[1:] == ["neg", "colour", "comma"] else 0
    return i + 2 if kinds[:2] == ["neg", "colour"] else 0


def _compounds(before: Entry, noun: Entry) -> bool:
    if before.kind == "garment" and noun.kind == "garment":
        return before.part == noun.part  # "hoodie jacket"; but "shirt jeans" are two things
    if before.kind == "sleeve":
        return noun.kind in ("garment", "sleeve")
    return before.kind in _COMPOUND_HEADS and noun.kind in NOUNS


def _add_modifier(phrase: Phrase, tokens: list[Entry], i: int) -> None:
    token = tokens[i]
    if token.kind == "colour":
        phrase.colours += (i,)
    elif token.kind == "size":
        phrase.size = phrase.size if token.value is None else token.value  # "short cropped hair" is short
        phrase.has_size = True
    elif token.kind == "sleeve_word":
        phrase.sleeve = token.sleeve


def _read_sleeves(tokens: list[Entry], phrase: Phrase) -> None:
    """ "short sleeved red shirt": the size before a sleeve word is the sleeve's, not the garment's."""
    for i in range(phrase.start, phrase.end):
        if tokens[i].kind == "sleeve":
            sizes = [t.value for t in tokens[phrase.start : i] if t.kind == "size"]
            if sizes:
                phrase.sleeve = sizes[-1]
                rest = [t for t in tokens[i : phrase.end] if t.kind == "size"] + [t for t in tokens[phrase.start : i] if t.kind == "size"][
                    :-1
                ]
                phrase.size, phrase.has_size = (rest[-1].value, True) if rest else (None, False)
