"""Caption -> 27 three-state attributes: the pure function and the stage around it.

The definition is the project's annotation guideline: keyword rules with negation scope, a main subject, and the noun that a colour belongs
to. Its words are data in `annotation/rules.yaml`. Reads the captions of the caption stage; `shard` writes the labels into the samples.
"""

from collections.abc import Sequence
from typing import Any

from generation.annotation.labels import Labels, labels_by, named
from generation.annotation.lexicon import lexicon
from generation.annotation.merge import merge
from generation.annotation.modifiers import settle_modifiers
from generation.annotation.pieces import read
from generation.annotation.remembered import MAX_REMEMBERED
from generation.annotation.subject import subject_of
from generation.annotation.tokens import tokenise
from generation.config import AnnotateConfig
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.stage import Item, Keep, Outcome

_AT_ONCE = 64  # captions
_known: dict[str, Labels] = {}  # captioners repeat themselves


def annotate(caption: str) -> dict[str, int]:
    """All 27 attributes of PERSON_27 that a caption states of its main subject: name -> 0, 1, or -1 (not stated).

    Polarity as in PERSON_27: for hats, bags and colours 0 means "has it". Any text is accepted; what is not understood stays -1.
    """
    return annotate_all([caption])[0]


def annotate_all(captions: Sequence[str]) -> list[dict[str, int]]:
    """The same of many captions, which is faster: see `labels_of`."""
    return [named(labels) for labels in labels_of(captions)]


def labels_of(captions: Sequence[str]) -> list[Labels]:
    """The same as text (`Labels`), which `named` makes a dictionary of.

    Step after step for some captions at once, and not caption after caption: so the code of each step stays in the processor's first
    cache, and what is made of so many captions in its second.
    """
    found = {caption: labels for caption in captions if (labels := _known.get(caption)) is not None}
    unread = [caption for caption in dict.fromkeys(captions) if caption not in found]
    new: dict[str, Labels] = {}
    for first in range(0, len(unread), _AT_ONCE):
        some = unread[first : first + _AT_ONCE]
        new.update(zip(some, _read(some), strict=True))
    if len(_known) + len(new) > MAX_REMEMBERED:
        _known.clear()
    _known.update(new)
    found |= new  # and not from what is remembered, which another thread may clear
    return [found[caption] for caption in captions]


def _read(captions: Sequence[str]) -> list[Labels]:
    tokenised = [tokenise(caption) for caption in captions]
    settled = [settle_modifiers(tokens, symbols) for tokens, symbols in tokenised]
    subjects = [subject_of(tokens, symbols) for tokens, symbols in settled]
    said = [read(symbols) for _, symbols in settled]
    return [labels_by(subject, tokens, phrases) for subject, (tokens, _), phrases in zip(subjects, settled, said, strict=True)]


class AnnotateStage:
    """Adds `attributes` and `labels` to every row, and `label_conflicts` where there are answers of a model; drops nothing."""

    name = "annotate"
    reads_images = False
    writes_images = False
    batch_size = 1024

    def __init__(self, config: AnnotateConfig) -> None:
        self._config = config

    def setup(self) -> None:
        lexicon()

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        texts = [item.row[self._config.text] for item in batch]
        return [self._one(item, labels) for item, labels in zip(batch, annotate_all(texts), strict=True)]

    def teardown(self) -> None:
        pass

    def _one(self, item: Item, labels: dict[str, int]) -> Outcome:
        values, conflicts = merge(labels, item.row.get("answers"), self._config.precedence)
        row: dict[str, Any] = {"attributes": values, "labels": PERSON_27.to_labels(values)}
        return Keep(row | {"label_conflicts": conflicts} if item.row.get("answers") is not None else row)
