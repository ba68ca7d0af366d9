"""The persons a caption names: who is a person, and who only a figure on a poster, a statue or a picture on the wall (guideline R3)."""

import re
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile, takewhile

from generation.annotation.lexicon import Entry, spelt
from generation.annotation.runs import MODIFIERS, NOUNS
from generation.annotation.symbols import any_of
from generation.annotation.tokens import tokenise

BEFORE_PERSON = frozenset({"modifier", "age", "size", "colour", "hairstyle", "hair", "number", "years", "word", "surface"})
_HANGING_PLACES = frozenset({"wall", "screen", "building", "billboard"})
_SUBJECTS = frozenset({"he", "she", "they"})
_FIGURE_REACH = 3  # words between "poster" and the person on it: "of a young"
_DESCRIPTION_REACH = 12  # words between a person on a picture and where it hangs
_ENDS_DESCRIPTION = frozenset({"person", "stop", "comma", "verb"})
_DESCRIBES = ("with", "wear", "hold", "relative")
_DOES = frozenset({"with", "in", "wear", "hold", "verb", "place"})  # somebody, and not a body
_ABSENT = frozenset({"no", "not", "without", "zero", "free of", "devoid of"})  # negators of persons
_IN_LIST_OF_ABSENT = BEFORE_PERSON | NOUNS | {"person", "joiner", "comma"}
_BUILDS = frozenset({"build", "physique", "figure", "stature", "posture", "gait", "air", "look", "looks", "height", "style"})
_SHAPES = frozenset(
    {
        "slim",
        "slender",
        "athletic",
        "curvy",
        "lean",
        "petite",
        "full",
        "trim",
        "toned",
        "muscular",
        "thin",
        "sturdy",
        "stocky",
        "hourglass",
        "good",
        "strong",
    }
)


@dataclass(slots=True, eq=False)  # looked for by identity
class Mention:
    """One naming of a person: tokens[first:end] with articles and adjectives before it from `start`."""

    start: int
    first: int
    end: int
    gender: int | None
    age: int | None
    plural: bool
    determiner: str
    is_figure: bool = False


def mentions_in(tokens: list[Entry], text: str) -> list[Mention]:
    """Persons in the order of the text; neighbouring nouns ("female police officer", "teen girl") are one mention.

    text: the tokens in symbols.
    """
    with_pictures = _pictures().search(text) is not None
    found: list[Mention] = []
    owner: Mention | None = None  # "her coat is ..." before anybody is named
    end = 0
    for match in _persons().finditer(text):
        place = match.start()
        token = tokens[place]
        if place < end:
            continue
        if token.kind == "person":
            mention = _mention(tokens, place, with_pictures)
            is_absent = _is_absent(tokens, mention)
            mention.is_figure = mention.is_figure or is_absent or (bool(found) and _is_on_picture(tokens, mention.start))
            is_described = mention.end < len(tokens) and tokens[mention.end].kind in _DESCRIBES
            is_nobody = (is_absent and not is_described) or _is_shape(tokens, mention, bool(found))
            if not is_nobody and not (found and (_is_example(tokens, mention.start) or _is_where(tokens, mention))):
                found.append(mention)
            end = mention.end
        elif (
            token.kind == "lifeless"
            or (token.kind == "figure" and not found and _shows_somebody(tokens, place))
            or (token.text in spelt("animals") and (place < _FIGURE_REACH or _is_clothed(tokens, place)))
        ):
            found.append(Mention(place, place, place + 1, None, None, False, "", is_figure=True))
        elif token.text in _SUBJECTS and not found:
            found.append(_by_pronoun(token, place))
        elif token.kind == "pronoun" and token.gender is not None and not found and owner is None:
            owner = _by_pronoun(token, place)
    if owner is not None and found and _is_somebody_else(tokens, owner, found[0]):
        return [owner, *found]
    return found[1:] if len(found) > 1 and _is_where(tokens, found[0]) else found


def _by_pronoun(token: Entry, place: int) -> Mention:
    return Mention(place, place, place + 1, token.gender, None, token.text == "they", "the")


def _is_somebody_else(tokens: list[Entry], owner: Mention, mention: Mention) -> bool:
    """ "her coat is grey; | people pass", "her coat is grey. | A man passes"; but "in her coat, | a woman", "holding his bag, | a woman".

    owner: the pronoun before.
    """
    if mention.is_figure or owner.start >= mention.start or tokens[mention.start - 1].kind == "be":
        return False
    if mention.plural:
        return True
    is_other = mention.gender == 1 - (owner.gender or 0) and mention.determiner not in ("the", "this", "that")
    return is_other and any(token.kind == "stop" for token in tokens[owner.end : mention.start])


def names_person(text: str) -> bool:
    """Whether a text names anybody by a noun, or by he, she or they; figures on pictures and statues are nobody."""
    return any(not mention.is_figure for mention in mentions_in(*tokenise(text)))


@cache
def lone_noun() -> re.Pattern[str]:
    """Most captions name one person, by one noun before any "his" or "no", and show no pictures."""
    others = any_of("person", "lifeless", "figure", "picture")[1:-1] + any_of("word", only=spelt("animals"))[1:-1]
    before = any_of("pronoun", "neg")[1:-1]
    return re.compile(f"[^{others}{before}]*+({any_of('person')})[^{others}]*+")


@cache
def _persons() -> re.Pattern[str]:
    return re.compile(any_of("person", "lifeless", "figure", "pronoun") + "|" + any_of("word", only=spelt("animals")))


@cache
def _pictures() -> re.Pattern[str]:
    """Of somebody who is not there."""
    return re.compile(any_of("figure", "lifeless", "picture"))


def _mention(tokens: list[Entry], first: int, with_pictures: bool) -> Mention:
    nouns, end = [tokens[first]], first + 1
    while end < len(tokens):
        gap = 1 if tokens[end].kind in ("word", "modifier", "age") else 0  # "woman tennis player"
        if end + gap < len(tokens) and tokens[end + gap].kind == "person":
            nouns.append(tokens[end + gap])
            end += gap + 1
        else:
            break
    start = first
    while start > 0 and tokens[start - 1].kind in BEFORE_PERSON:
        start -= 1
    determiner = tokens[start - 1].text if start > 0 and tokens[start - 1].kind in ("det", "pronoun", "number") else ""
    gender = age = None
    plural = False
    for noun in nouns:
        gender = noun.gender if gender is None else gender
        age = noun.age if age is None else age
        plural = plural or noun.plural
    for i in range(first - 1, start - 1, -1):
        age = tokens[i].value if tokens[i].kind == "age" else age  # the first adjective counts
    if gender is None and nouns[-1].plural:
        gender = _gender_of_group(tokens, end)
    is_figure = False
    if with_pictures:
        shown = any(_shows_figure(tokens, i) for i in range(max(0, start - _FIGURE_REACH), start))
        is_figure = shown or _is_on_screen(tokens, end) or _hangs_on_wall(tokens, start, end)
    return Mention(start - 1 if determiner else start, first, end, gender, age, plural, determiner, is_figure)


def _gender_of_group(tokens: list[Entry], end: int) -> int | None:
    """ "a group of old men": the plural that follows says the gender."""
    if end == len(tokens) or tokens[end].text != "of":
        return None
    following = (token for token in tokens[end + 1 :] if token.kind not in BEFORE_PERSON)
    noun = next(following, None)
    return noun.gender if noun is not None and noun.kind == "person" else None


def _is_clothed(tokens: list[Entry], i: int) -> bool:
    """ "a dog | that wears a sweater", "a dog |, which is wearing a sweater", ", and a dog | in a sweater", "the leash of a dog | in a
    sweater"; but "walking a dog in a sweater"."""
    before, after = tokens[max(0, i - 2) : i], tokens[i + 1 : i + 5]
    begins = [t.kind for t in before] in (["joiner", "det"], ["comma", "det"], ["stop", "det"], ["place", "det"])
    if begins and (before[0].kind != "place" or before[0].text == "of") and after and after[0].kind in ("in", "wear"):
        return True
    if [t.text for t in after[:2]] == [",", "which"]:
        after = after[1:]
    return [t.kind for t in after if t.kind != "be"][:2] in (["det", "wear"], ["relative", "wear"])


def _is_absent(tokens: list[Entry], mention: Mention) -> bool:
    """ "no | other people", "without | pedestrians", "no cars or | people"; but "no hat or | a woman"."""
    i = mention.start - 1
    if i > 0 and tokens[i].item in ("or", "nor") and mention.determiner not in spelt("articles"):
        while i > 0 and tokens[i].kind in _IN_LIST_OF_ABSENT:
            i -= 1
    return i >= 0 and tokens[i].kind == "neg" and tokens[i].text in _ABSENT


def _is_shape(tokens: list[Entry], mention: Mention, is_further: bool) -> bool:
    """ "has a | figure", "her | figure", "long hair and an athletic | figure", "the | figure of a woman"; but "a man with a | figure behind
    him"."""
    if tokens[mention.first].text != "figure" or mention.end > mention.first + 1:
        return False
    if tokens[mention.start].kind == "pronoun" or (mention.end < len(tokens) and tokens[mention.end].text == "of"):
        return True
    before = tokens[mention.start - 1].kind if mention.start > 0 else ""
    if not is_further:
        return before == "with" and mention.start == 1
    if any(token.text in _SHAPES for token in tokens[mention.start : mention.first]):
        return before in ("with", "wear", "joiner", "comma")
    return before in ("with", "wear") and not (mention.end < len(tokens) and tokens[mention.end].kind in _DOES)


def _is_example(tokens: list[Entry], start: int) -> bool:
    """ "dressed | as a clown", "poses | like a model", "with the build | of a model": no further person; but "a man waits as a woman
    passes"."""
    before = [token.text for token in tokens[max(0, start - 2) : start]]
    return (
        before[-1:] == ["like"]
        or (before[-1:] == ["as"] and before[0] in spelt("before_as"))
        or (before[-1:] == ["of"] and before[0] in _BUILDS and tokens[start].text in spelt("articles"))
    )


def _is_where(tokens: list[Entry], mention: Mention) -> bool:
    """ "at a | pedestrian crossing", "through the | crowd", but not "a | pedestrian crossing the street", "a | crowd of women"."""
    if mention.start == 0 or tokens[mention.start - 1].kind not in ("place", "in"):
        return False
    after = tokens[mention.end : mention.end + 2]
    if tokens[mention.first].text == "crowd":
        return [t.text for t in after[:1]] != ["of"]
    return [t.text for t in after[:1]] == ["crossing"] and [t.kind for t in after[1:]] != ["det"]


def _shows_figure(tokens: list[Entry], i: int) -> bool:
    if tokens[i].kind == "lifeless":
        return tokens[i + 1].text == "of"  # "a statue of a soldier"
    if tokens[i].kind != "figure":
        return False
    following = tokens[i + 1]  # there is one: a person comes behind
    if i > 1 and tokens[i - 2].text == "on" and following.kind in ("det", "person"):
        return True  # "on a billboard a girl in a red coat"
    return following.kind in ("with", "verb", "in", "wear") or following.text in ("of", "for", "about")  # but "a poster behind a girl"


def _shows_somebody(tokens: list[Entry], i: int) -> bool:
    """ "a poster | of a boxer"."""
    return i + 1 < len(tokens) and tokens[i + 1].text == "of"


def _is_on_picture(tokens: list[Entry], start: int) -> bool:
    """ "a shirt with a picture of | a girl", behind the person who wears it."""
    return start > 1 and tokens[start - 2].kind == "picture" and tokens[start - 1].text == "of"


def _is_on_screen(tokens: list[Entry], end: int) -> bool:
    """ "a newsreader | on a television screen"; but "a man in front of a screen", "a man | in a graffiti print hoodie"."""
    if end == len(tokens) or tokens[end].text not in ("on", "in"):
        return False
    following = (token.kind for token in tokens[end + 1 : end + _FIGURE_REACH + 3])
    kinds = [*dropwhile(lambda kind: kind == "det" or kind in BEFORE_PERSON, following)]
    behind = next((kind for kind in kinds if kind != "figure"), "")
    return kinds[:1] == ["figure"] and behind not in NOUNS | MODIFIERS | {"word"}


def _hangs_on_wall(tokens: list[Entry], start: int, end: int) -> bool:
    """ "a picture of a woman (in red) on a wall": a picture that hangs shows nobody who is there, but "... sitting on a wall"."""
    if not any(t.kind == "picture" for t in tokens[max(0, start - 2 * _FIGURE_REACH) : start]):
        return False
    before = [t.text for t in tokens[max(0, start - 2 * _FIGURE_REACH) : start]]
    if any(one == "on" and other in _HANGING_PLACES for one, other in zip(before, before[2:], strict=False)):
        return True  # "a picture on the wall of a woman"
    after = [*takewhile(lambda token: token.kind not in _ENDS_DESCRIPTION, tokens[end : end + _DESCRIPTION_REACH])]
    texts = [token.text for token in after]
    return any(one == "on" and other in _HANGING_PLACES for one, other in zip(texts, texts[2:], strict=False))
