"""The annotation of captions: properties P1 to P12 of the guideline on captions of one person, and what is read by pieces."""

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from generation.annotate import annotate, labels_of
from generation.annotation.labels import labels_by
from generation.annotation.lexicon import lexicon
from generation.annotation.modifiers import settle_modifiers
from generation.annotation.phrases import phrases
from generation.annotation.subject import by_mentions, subject_of
from generation.annotation.symbols import in_symbols
from generation.annotation.tokens import CUTS, tokens_of
from pipeline.contracts.attributes import LOWER_COLOURS, UPPER_COLOURS
from tests.property.described import (
    COLOURS,
    FORMS,
    NAMES,
    SWAPPED,
    Described,
    Garment,
    captions,
    lowers,
    pairs,
    people,
    subjects,
    things,
    uppers,
)


def changed(caption: str, other: str) -> dict[str, tuple[int, int]]:
    before, after = annotate(caption), annotate(other)
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}


def swapped(caption: str) -> str:
    """Every man a woman, every girl a boy."""
    return re.sub(rf"\b({'|'.join(SWAPPED)})\b", lambda m: SWAPPED[m[0]], caption)


@given(captions)
def test_case_spacing_full_stop_and_framing_change_nothing(caption: str) -> None:  # P1, P7
    for other in (caption.upper(), caption.title(), caption.replace(" ", "  "), caption + "."):
        assert not changed(caption, other), other
    for framing in ("a photo of", "there is", "this image shows"):
        assert not changed(caption, f"{framing} {caption}")


@given(captions)
def test_ways_of_writing_hyphens_change_nothing(caption: str) -> None:  # P2
    for joint in (" - ", " "):
        assert not changed(caption, caption.replace("-", joint))
    assert not changed(caption, caption.replace("backpack", "back pack").replace("handbag", "hand bag"))


@given(captions, st.sampled_from(["standing next to a red car", "in front of a white wall", "under a blue sky"]))
def test_scenery_changes_nothing(caption: str, scene: str) -> None:  # P3
    assert not changed(caption, f"{caption} {scene}")


@given(subjects, uppers, lowers, things, st.sampled_from(["wearing", "in", "dressed in"]))
def test_order_of_clauses_and_of_joined_phrases_changes_nothing(  # P4
    subject: str, upper: Garment, lower: Garment, thing: str, wearing: str
) -> None:
    assert not changed(f"{subject} wearing {upper} carrying {thing}", f"{subject} carrying {thing} wearing {upper}")
    other = str(lower) if str(lower).startswith(("a ", "an ")) else f"a pair of {lower}"
    assert not changed(f"{subject} {wearing} {upper} and {other}", f"{subject} {wearing} {other} and {upper}")


@given(pairs, st.integers(2, 5))
def test_repeating_everything_or_a_phrase_changes_nothing(person: Described, times: int) -> None:  # P5
    caption = str(person)
    assert not changed(caption, " ".join([caption] * times))
    assert not changed(caption, " and ".join([caption] * times))
    for phrase in (str(person.upper), str(person.lower), person.thing):
        assert not changed(caption, caption.replace(phrase, " and ".join([phrase] * times), 1)), phrase


@given(people, st.data())
def test_other_words_for_a_colour_change_nothing(person: Described, data: st.DataObject) -> None:  # P6
    word = person.upper.colour
    others = COLOURS[NAMES[word]] if word and NAMES[word] else (word,)
    other = Garment(data.draw(st.sampled_from(others)), person.upper.noun)
    assert not changed(str(person), str(person).replace(str(person.upper), str(other)))


@given(people, things)
def test_swapping_the_gender_words_changes_the_gender_only(person: Described, thing: str) -> None:  # P8
    his = "his" if person.he == "he" else "her"
    for caption in (str(person), f"{person}, {person.he} has {thing} in {his} hand", f"{person} while {person.he} looks at {his} phone"):
        assert set(changed(caption, swapped(caption))) == {"gender"}, caption


@given(people, people, things, things)
def test_swapping_the_gender_words_of_two_people_changes_the_gender_only(
    one: Described, two: Described, own: str, other: str
) -> None:  # P8
    second = str(two) if two.he != one.he else swapped(str(two))
    she = SWAPPED[one.he]
    caption = f"{one} next to {second}. {she} has {other} and {one.he} has {own}"
    assert set(changed(caption, swapped(caption))) == {"gender"}


@given(people)
def test_colour_groups_are_what_is_stated_and_deleting_colours_silences_them_only(person: Described) -> None:  # P9
    caption = str(person)
    labels = annotate(caption)
    lower = person.lower or person.upper
    for part, colours, stated in (("upper", UPPER_COLOURS, person.upper.stated), ("lower", LOWER_COLOURS, lower.stated)):
        zeros = {colour for colour in colours if labels[f"{part}_{colour}"] == 0}
        assert zeros == stated & set(colours)
        assert {labels[f"{part}_{colour}"] for colour in colours} <= ({0, 1} if stated else {-1})
    other = caption
    for garment in (person.upper, lower):
        other = other.replace(str(garment), str(Garment("", garment.noun)))
    groups = {f"upper_{c}" for c in UPPER_COLOURS} | {f"lower_{c}" for c in LOWER_COLOURS}
    assert set(changed(caption, other)) <= groups
    assert all(annotate(other)[name] == -1 for name in groups)


@given(subjects, uppers, lowers, st.sampled_from(["hat", "backpack", "handbag", "bag"]))
def test_with_and_without_set_just_that_attribute(subject: str, upper: Garment, lower: Garment, item: str) -> None:  # P10
    caption = f"{subject} in {upper} and {lower}"
    assert changed(caption, f"{caption} with a {item}") == {item: (-1, 0)}
    assert changed(caption, f"{caption} without a {item}") == {item: (-1, 1)}


@given(captions, people)
def test_a_second_person_changes_nothing(caption: str, other: Described) -> None:  # P11
    assert not changed(caption, f"{caption} next to a man in a green coat with a suitcase")
    second = Described(FORMS[1], f"another {other.who.split(' ', 1)[1]}", other.upper, other.lower, other.thing)
    assert not changed(caption, f"{caption} next to {second}")


@given(captions, st.sampled_from(sorted(NAMES)), st.sampled_from(["shoes", "a tie", "a scarf", "an umbrella", "hair"]))
def test_coloured_accessories_change_nothing(caption: str, colour: str, thing: str) -> None:  # P12
    article, _, noun = thing.rpartition(" ")
    assert not changed(caption, f"{caption} with {'a ' if article else ''}{colour} {noun}")


# ---- what is remembered by pieces -----------------------------------------------------------------------------------------------------
_WORDS = [
    "a",
    "the",
    "man",
    "woman",
    "boy",
    "gentleman",
    "16",
    "year~old",
    "person",
    "wearing",
    "in",
    "with",
    "and",
    "or",
    "no",
    "red",
    "navy",
    "blue",
    "dark~blue",
    "orange",
    "grey",
    "gray",
    "shirt",
    "blouse",
    "jacket",
    "jeans",
    "dress",
    "hat",
    "cap",
    "bag",
    "backpack",
    "holding",
    "next~to",
    "on",
    "of",
    "poster",
    "zorb",
    "quux",
    "tied",
    ",",
    ".",
    "her",
    "his",
    "he",
    "she",
    "short",
    "long",
    "sleeves",
    "hair",
    "all",
    "both",
    "except",
    "not",
    "is",
    "picture",
    "wall",
    "carrying",
    "has",
    "shorts",
    "long~shorts",
    "leather",
    "plaid",
    "walking",
    "standing",
    "slung",
    "over",
    "shoulder",
    "scarf",
    "shoes",
    "'s",
    "without",
    "but",
    "under",
    "left",
    "at",
    "from",
    "hanging",
    "black",
    "lap",
    "either",
    "who",
    "while",
    "child",
    "boyfriend",
    "figure",
    "women",
    "people",
    "male",
    ":",
    "30s",
    "couple~of",
    "waering",
]
texts_of_words = st.lists(st.sampled_from(_WORDS), max_size=24).map(lambda words: " ".join(words).replace("~", " "))


@given(st.lists(captions | texts_of_words, min_size=1, max_size=3).map(" ".join))
@settings(max_examples=300)
def test_what_is_remembered_by_pieces_is_what_the_caption_says(caption: str) -> None:
    """The annotator cuts captions and looks the pieces up; here they are read in one go, word by word."""
    tokens = tokens_of(caption.lower())
    tokens, text = settle_modifiers(tokens, in_symbols(tokens))
    assert subject_of(tokens, text) == by_mentions(tokens, text)
    whole = [(0, phrases(tokens).phrases)]  # a name: pytest would print phrases without end
    in_one_go = labels_by(subject_of(tokens, text), tokens, whole)
    assert labels_of([caption]) == [in_one_go]


def test_no_listed_phrase_is_cut() -> None:
    listed = [phrase for options in lexicon().longer.values() for same in options.values() for phrase, _ in same]
    for text, cut in CUTS:
        before, after = cut.split(word := text.strip())
        assert not any(word in phrase[1:] for phrase in listed if "\0" in before), word
        assert not any(word in phrase[:-1] for phrase in listed if "\0" in after), word
