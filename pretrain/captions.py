"""Cleaning of captions before they are tokenised."""

import re

from pipeline.contracts.errors import ContractError

_OTHER = re.compile("[^0-9a-z]+")


def pre_caption(text: str, max_words: int = 56, clean: bool = False) -> str:
    """A caption of at most max_words words. With `clean`, lower-case letters, digits and single spaces only.

    A caption that is short enough keeps its own spacing. Raises ContractError if nothing is left.
    Source: APTM research code, pre_caption; on there for ICFG-PEDES and RSTPReid tests only.
    """
    given = text
    if clean:
        text = _OTHER.sub(" ", text.lower()).strip()
    words = text.split()
    if not words:
        kept = " (text.clean=true keeps Latin letters and digits alone)" if clean else ""
        raise ContractError(f"caption is empty: {given[:60]!r}{kept}; every caption must hold at least one word")
    return " ".join(words[:max_words]) if len(words) > max_words else text
