"""Do prompts repeat captions of a test set? Exact, normalised (case, spacing, punctuation), contained (a whole caption among
other words), and near (MinHash over pairs of words).

A synthetic training set whose prompts are test captions makes every later test score worthless, so `prompts` refuses to start on one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from generation.caption_lists import read_evaluation_captions
from generation.prompt_files import normalised, read_table_prompts, read_text_prompts

KINDS = ("exact", "normalised", "contained", "near")
NUM_HASHES = 128
MIN_RECALL = 0.9998  # of the search for candidates, at the threshold itself; what it finds beside them is compared again
_MIN_CONTAINED = 8  # words of a caption that may not stand within a prompt; "a man in a red shirt" is nobody's
_WORDS = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Leak:
    """One prompt that stands in a test set. kind: one of KINDS; similarity: Jaccard of word pairs, 1.0 for all but near."""

    index: int  # of the prompt, from 0
    prompt: str
    kind: str
    similarity: float
    caption: str
    file: str


def read_test_captions(path: Path) -> list[str]:
    """Captions of a file that must not leak: .json (raw lists: their val and test records), .jsonl, .parquet, or one a line."""
    if path.suffix == ".json":
        return read_evaluation_captions(path)
    if path.suffix in (".jsonl", ".parquet"):
        return [prompt.text for prompt in read_table_prompts(path)]
    return read_text_prompts(path)


class LeakIndex:
    """Test captions by file, ready to be compared with any number of prompts."""

    def __init__(self, captions: Mapping[str, Sequence[str]], min_similarity: float) -> None:
        from datasketch import MinHash, MinHashLSH

        self._threshold = min_similarity
        self._blank = MinHash(num_perm=NUM_HASHES, seed=1)
        self._captions = [(file, text) for file, texts in captions.items() for text in dict.fromkeys(texts)]
        self._exact = {text: i for i, (_, text) in reversed(list(enumerate(self._captions)))}
        self._normalised = {normalised(text): i for i, (_, text) in reversed(list(enumerate(self._captions)))}
        self._words = [tuple(normalised(text).split()) for _, text in self._captions]
        self._starts: dict[tuple[str, ...], list[int]] = {}  # first words of a caption -> the captions that begin so
        for i, words in enumerate(self._words):
            if len(words) >= _MIN_CONTAINED:
                self._starts.setdefault(words[:_MIN_CONTAINED], []).append(i)
        self._pairs = [word_pairs(text) for _, text in self._captions]
        self._lsh = MinHashLSH(num_perm=NUM_HASHES, params=lsh_bands(min_similarity))
        with self._lsh.insertion_session() as session:
            for i, pairs in enumerate(self._pairs):
                session.insert(i, self._signature(pairs))

    def find(self, prompts: Iterable[str]) -> Iterator[Leak]:
        """At most one leak per prompt: exact before normalised before contained before the nearest."""
        for index, text in enumerate(prompts):
            own = word_pairs(text)
            if text in self._exact:
                yield self._leak(index, text, "exact", 1.0, self._exact[text])
            elif normalised(text) in self._normalised:
                yield self._leak(index, text, "normalised", 1.0, self._normalised[normalised(text)])
            elif (contained := self._contained(normalised(text).split())) is not None:
                yield self._leak(index, text, "contained", 1.0, contained)
            else:
                near = ((jaccard(own, self._pairs[i]), -i) for i in self._lsh.query(self._signature(own)))
                similarity, minus = max(near, default=(0.0, 0))
                if similarity >= self._threshold:
                    yield self._leak(index, text, "near", round(similarity, 4), -minus)

    def _contained(self, words: list[str]) -> int | None:
        """The first caption that stands in these words as a whole."""
        for start in range(len(words) - _MIN_CONTAINED + 1):
            for i in self._starts.get(tuple(words[start : start + _MIN_CONTAINED]), ()):
                if tuple(words[start : start + len(self._words[i])]) == self._words[i]:
                    return i
        return None

    def _signature(self, pairs: frozenset[str]) -> Any:
        signature = self._blank.copy()
        signature.update_batch([pair.encode() for pair in sorted(pairs)])
        return signature

    def _leak(self, index: int, prompt: str, kind: str, similarity: float, caption: int) -> Leak:
        file, text = self._captions[caption]
        return Leak(index, prompt, kind, similarity, text, file)


def lsh_bands(similarity: float) -> tuple[int, int]:
    """(bands, hashes in each) with the fewest false candidates that miss at most 1 - MIN_RECALL of the pairs of this similarity.

    Two texts are candidates if all hashes of a band agree: 1 - (1 - s^hashes)^bands of the pairs of similarity s.
    """
    splits = [(NUM_HASHES // hashes, hashes) for hashes in range(NUM_HASHES // 2, 0, -1)]
    recall = ((1 - (1 - similarity**hashes) ** bands, (bands, hashes)) for bands, hashes in splits)
    return next((split for share, split in recall if share >= MIN_RECALL), splits[-1])


def find_leaks(prompts: Iterable[str], files: Sequence[str], min_similarity: float) -> list[Leak]:
    """Leaks of prompts into any of the caption files. Raises ContractError for a file that cannot be read as captions."""
    index = LeakIndex({file: read_test_captions(Path(file)) for file in files}, min_similarity)
    return list(index.find(prompts))


def summary(leaks: Sequence[Leak]) -> str:
    """ "3 exact, 1 near"."""
    counts = Counter(leak.kind for leak in leaks)
    return ", ".join(f"{counts[kind]} {kind}" for kind in KINDS if counts[kind])


def word_pairs(text: str) -> frozenset[str]:
    """Neighbouring words of a text, its ends included, so that one-word texts have some too."""
    words = ["", *_WORDS.findall(text.lower()), ""]
    return frozenset(f"{a} {b}" for a, b in pairwise(words))


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """|intersection| / |union|, 0 to 1."""
    return len(one & other) / len(one | other)
