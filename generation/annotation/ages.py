"""The age in years that a caption states of its subject."""

import re
from functools import cache

from generation.annotation.lexicon import Entry
from generation.annotation.mentions import BEFORE_PERSON
from generation.annotation.symbols import any_of


@cache
def _years() -> re.Pattern[str]:
    return re.compile(any_of("decade", "years", "number"))


def stated_years(tokens: list[Entry], text: str, owned: list[bool] | None) -> int | None:
    """0 or 1 from "12 year old", "aged 30", "in his thirties"; None where no age in years is stated of the subject.

    text: the tokens in symbols; owned: as in `Subject`.
    """
    if _years().search(text) is None:  # nearly always; twice as fast as to go through none
        return None
    for match in _years().finditer(text):
        i = match.start()
        if owned is not None and not owned[i]:
            continue
        token, before = tokens[i], tokens[i - 1] if i > 0 else None
        if token.kind == "decade" and (is_stated_decade(tokens, i) or _is_alone(tokens, i)):
            return token.value
        if token.kind == "years" and before is not None and before.kind == "number" and before.value is not None:
            return int(before.value >= 18)
        if token.kind == "number" and token.value is not None and _tells_age(tokens, i):
            return int(token.value >= 18)
    return None


def is_stated_decade(tokens: list[Entry], i: int) -> bool:
    """ "in her | twenties", "in his late | teens"."""
    before = [token for token in tokens[max(0, i - 2) : i] if token.text not in ("early", "mid", "late")]
    return bool(before) and before[-1].kind in ("pronoun", "det") and (tokens[i].kind == "decade" or before[-1].kind == "pronoun")


def _is_alone(tokens: list[Entry], i: int) -> bool:
    """ "male, | 30s, black jacket", "age: early | 20s"."""
    before = [token for token in tokens[max(0, i - 2) : i] if token.text not in ("early", "mid", "late")]
    after = tokens[i + 1].kind if i + 1 < len(tokens) else "stop"
    return bool(before) and before[-1].kind in ("comma", "stop") and after in ("comma", "stop")


def _tells_age(tokens: list[Entry], i: int) -> bool:
    """ "aged 17", "aged about 17", "a girl of twenty", "she is 20"; but "a family of four people"."""
    before = [t for t in tokens[max(0, i - 3) : i] if t.text not in ("about", "around", ":")]
    if not before:
        return False
    if before[-1].text in ("aged", "age"):
        return True
    after = tokens[i + 1].kind if i + 1 < len(tokens) else ""
    if [token.kind for token in before[-2:]] in (["pronoun", "be"], ["relative", "be"]):
        return after in ("", "comma", "stop", "joiner", "with", "in", "wear", "hold", "verb")  # "she is 45"
    return len(before) > 1 and before[-1].text == "of" and before[-2].kind == "person" and after not in (*BEFORE_PERSON, "person")
