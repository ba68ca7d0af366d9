"""The words of `rules.yaml` as a table from words and phrases to entries. Loaded once, read by the tokeniser."""

from dataclasses import dataclass, fields, replace
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

MIN_MISSPELT = 4  # letters; shorter words are too often other words
MIN_DERIVED = 6  # letters of a word that has an ending
RULES_FILE = Path(__file__).with_name("rules.yaml")
_ENDINGS = {"ing": "verb", "ly": "filler", "eed": "word", "ed": "modifier"}  # what an unlisted word is


@dataclass(slots=True, eq=False)  # compared by identity: each word's is made once
class Entry:
    """What one token is. `kind` decides which other fields mean something. Nobody changes one, but for the symbol it gets at first."""

    kind: str
    text: str
    gender: int | None = None  # person, pronoun
    age: int | None = None  # person
    plural: bool = False  # person
    part: str = ""  # garment: upper, lower, both; empty: not stated
    sleeve: int | None = None  # garment, sleeve word
    type: int | None = None  # garment
    length: int | None = None  # garment
    item: str = ""  # bag: its attribute; joiner: and, or, nor; colour: its name
    value: int | None = None  # size, hairstyle, age word, number, decade
    absent: bool = False  # hat, bag: a negated one says something
    symbol: str = ""  # one character for what it means, see `symbols.py`


# To compare entries by; `astuple` makes copies of what is in them and is far slower.
fields_of = attrgetter(*(field.name for field in fields(Entry)))

# Kinds whose entries are plain lists of words. Nouns also get their plural.
_NOUN_LISTS = {
    "parts": "part",
    "sleeve_nouns": "sleeve",
    "not_bags": "accessory",
    "not_bald": "accessory",
    "not_persons": "accessory",
    "hair": "hair",
    "accessories": "accessory",
    "bodies": "body",
    "surfaces": "surface",
    "figures": "figure",
    "lifeless": "lifeless",
    "pictures": "picture",
}
_WORD_LISTS = {
    "headwear": "headwear",
    "negators": "neg",
    "affirmers": "filler",
    "enders": "ender",
    "unseen": "unseen",
    "left_away": "away",
    "excepts": "except",
    "all_of_kind": "of_any_kind",
    "kinds_of": "kind_of",
    "wear_verbs": "wear",
    "hold_verbs": "hold",
    "other_verbs": "verb",
    "apart_verbs": "apart",
    "be_verbs": "be",
    "place_words": "place",
    "layer_words": "layer",
    "in_words": "in",
    "with_words": "with",
    "fillers": "filler",
    "alls": "all",
    "boths": "both",
    "determiners": "det",
    "relatives": "relative",
    "modifiers": "modifier",
    "year_words": "years",
}
_VALUE_LISTS = {"age_words": "age", "number_words": "number", "decades": "decade", "sleeve_words": "sleeve_word"}
Phrases = dict[str, list[tuple[list[str], Entry]]]  # second word -> the listed phrases that go on so, longest first
_PUNCTUATION = {",": "comma", ".": "stop", ";": "stop", ":": "stop", "!": "stop", "?": "stop"}


class Lexicon:
    """`single[word]` is the entry of one word; `longer[first word][second word]` lists the phrases that begin so."""

    def __init__(self, rules: dict[str, Any]) -> None:
        self.single: dict[str, Entry] = {}
        self.longer: dict[str, Phrases] = {}
        self.not_man_words = frozenset(rules["not_man_words"])
        self.spelling: dict[str, str] = dict(rules["spelling"])
        self.spelt: dict[str, frozenset[str]] = {name: frozenset(words) for name, words in rules["spelt"].items()}
        known = dict(_entries(rules))  # a later list overrides an earlier one
        self.entries = tuple(known.values())
        for text, entry in sorted(known.items(), key=lambda item: -len(item[0].split())):
            first, *rest = text.split()
            if rest:
                self.longer.setdefault(first, {}).setdefault(rest[0], []).append(([first, *rest], entry))
            else:
                self.single[text] = entry
        self.words = frozenset(self.single) | frozenset(self.longer)  # those that a text may begin a listed word or phrase with
        self.real_words = frozenset(rules["real_words"])  # not respelt, though no list above has them
        kinds = frozenset(rules["spelling_kinds"])
        self.spelling_targets = (
            *(word for word, entry in self.single.items() if entry.kind in kinds and len(word) >= MIN_MISSPELT),
            *rules["spelling_targets"],
        )


@cache
def lexicon() -> Lexicon:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C, ten times as fast, where PyYAML was built with it
    return Lexicon(yaml.load(RULES_FILE.read_text(encoding="utf-8"), loader))  # noqa: S506 -- a safe loader


def spelt(name: str) -> frozenset[str]:
    """A list of `spelt` in the rules."""
    return lexicon().spelt[name]


def unlisted(word: str) -> Entry:
    """Numbers, words in -man and -woman, verbs in -ing, adverbs in -ly, participles in -ed; anything else is a word that takes a colour and
    keeps it."""
    if word.isdigit():
        return Entry("number", word, value=int(word) if len(word) < 4 else None)
    if word not in lexicon().not_man_words:
        for ending, gender, plural in (("woman", 0, False), ("women", 0, True), ("man", 1, False), ("men", 1, True)):
            if word.endswith(ending) and len(word) > len(ending) + 2:
                return Entry("person", word, gender=gender, age=None if plural else 1, plural=plural)
    kind = next((kind for ending, kind in _ENDINGS.items() if word.endswith(ending)), "word") if len(word) >= MIN_DERIVED else "word"
    if kind == "modifier" and any(word in spelt(name) for name in ("carried", "put", "layered")):
        kind = "word"  # of which rules ask what it is done with
    return Entry(kind, word)


def plural(noun: str) -> str:
    """Regular plural of the last word: shirt -> shirts, dress -> dresses, scarf -> scarfs."""
    if noun.endswith(("s", "sh", "ch", "x")):
        return noun + "es"
    return noun[:-1] + "ies" if noun.endswith("y") and noun[-2] not in "aeiou" else noun + "s"


def _entries(rules: dict[str, Any]) -> list[tuple[str, Entry]]:
    """All (text, entry) pairs, weakest claim first: a word that is both a modifier and a noun is the noun."""
    found: list[tuple[str, Entry]] = []
    for section in ("fillers", "modifiers", "determiners"):
        found += [(word, Entry(_WORD_LISTS[section], word)) for word in rules[section]]
    found += [
        (word, Entry(kind, word))
        for section, kind in _WORD_LISTS.items()
        if section not in ("fillers", "modifiers", "determiners")
        for word in rules[section]
    ]
    for section, kind in _VALUE_LISTS.items():
        found += [(word, _valued(kind, word, value)) for word, value in rules[section].items()]
    found += _two_digits(rules["number_words"])
    found += _colours(rules)
    found += [
        (form, Entry(kind, noun)) for section, kind in _NOUN_LISTS.items() for noun in rules[section] for form in (noun, plural(noun))
    ]
    found += [(f"{side} {noun}", Entry("body", noun)) for side in ("left", "right") for noun in rules["bodies"]]
    found += _described(rules)
    found += [(word, Entry("joiner", word, item=item)) for word, item in rules["joiners"].items()]
    found += [(mark, Entry(kind, mark)) for mark, kind in _PUNCTUATION.items()]
    # Phrases that only look like something else must win over its words; they are longer than what they contain.
    return found + [(word, Entry("word", word)) for word in rules["not_colours"]]


def _colours(rules: dict[str, Any]) -> list[tuple[str, Entry]]:
    names = [(word, name) for name, words in rules["colours"].items() for word in words] + list(rules["colour_endings"].items())
    return [(word, Entry("colour", word, item=name)) for word, name in names]


def _two_digits(numbers: dict[str, int]) -> list[tuple[str, Entry]]:
    """ "sixty eight"; twenty, thirty and so on are listed themselves."""
    tens, ones = (
        {word: value for word, value in numbers.items() if low <= value < high and value % step == 0}
        for low, high, step in ((20, 100, 10), (1, 10, 1))
    )
    return [(f"{a} {b}", _valued("number", f"{a} {b}", x + y)) for a, x in tens.items() for b, y in ones.items()]


def _described(rules: dict[str, Any]) -> list[tuple[str, Entry]]:
    """Sections that are lists of {words, ...fields}."""
    kinds = {
        "garments": "garment",
        "hats": "hat",
        "no_thing": "no_thing",
        "bags": "bag",
        "hairstyles": "hairstyle",
        "sizes": "size",
        "pronouns": "pronoun",
        "negators_of": "neg",
        "persons": "person",
    }
    found = _regular_plurals(rules["persons"])
    for section, kind in kinds.items():
        for record in rules[section]:
            given = {("item" if name == "kind" else name): value for name, value in record.items() if name != "words"}
            for word in record["words"]:
                entry = Entry(kind, word, **given)
                found.append((word, entry))
                if kind in ("garment", "hat", "bag", "hairstyle") and plural(word) not in rules["hold_verbs"]:  # "clutches a bouquet"
                    found.append((plural(word), entry))
    for record in rules["plural_persons"]:
        found += [(word, Entry("person", word, gender=record.get("gender"), plural=True)) for word in record["words"]]
    return found


def _regular_plurals(persons: list[dict[str, Any]]) -> list[tuple[str, Entry]]:
    """Cyclists, ladies; "joggers" are trousers all the same, because a later list says so."""
    nouns = [(word, record.get("gender")) for record in persons for word in record["words"] if not word.endswith(("man", "child"))]
    return [(plural(word), Entry("person", plural(word), gender=gender, plural=True)) for word, gender in nouns]


def _valued(kind: str, word: str, value: int) -> Entry:
    return replace(Entry(kind, word), sleeve=value) if kind == "sleeve_word" else replace(Entry(kind, word), value=value)
