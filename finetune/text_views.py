"""The second view of a caption while fine-tuning: the same words, a little out of order or a few missing.

APTM's second view is EDA (Wei & Zou, 2019): synonym replacement, insertion, swap or deletion, one of the four per caption. Replacement
and insertion need WordNet, a download, so one of the other two is drawn. Unlike EDA, digits are kept: "aged 18-60" is the label here.
"""

import re
from random import Random

SHARE = 0.1  # EDA's alpha: one swap per ten words, each word deleted with this probability


def second_view(text: str, rng: Random) -> str:
    """Lower-case words of `text`, with random swaps or random deletions (never all). Same rng state, same view. Never empty for a text
    that holds a letter or digit; any other text comes back unchanged."""
    words = words_of(text)
    if not words:
        return text
    return " ".join(_swapped(words, rng) if rng.random() < 0.5 else _thinned(words, rng))


def words_of(text: str) -> list[str]:
    """Lower-case words; apostrophes, straight or typographic, join what they stand between."""
    return re.findall(r"[a-z0-9]+", re.sub(r"['\u2019]", "", text).lower())


def _swapped(words: list[str], rng: Random) -> list[str]:
    words = list(words)
    for _ in range(max(1, int(SHARE * len(words)))):
        first, second = rng.randrange(len(words)), rng.randrange(len(words))
        words[first], words[second] = words[second], words[first]
    return words


def _thinned(words: list[str], rng: Random) -> list[str]:
    kept = [word for word in words if rng.random() >= SHARE]
    return kept or [rng.choice(words)]
