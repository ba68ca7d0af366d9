"""Caption -> 27 three-state attributes: the pure function and the stage around it.

The definition is the project's annotation guideline: keyword rules with negation scope, a main subject, and the noun that a colour belongs
to. Its words are data in `annotation/rules.yaml`. Reads the captions of the caption stage; `shard` writes the labels into the samples.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from generation.annotation.labels import Labels, labels_by
from generation.annotation.lexicon import lexicon
from generation.annotation.merge import merge
from generation.annotation.modifiers import settle_modifiers
from generation.annotation.pieces import read
from generation.annotation.subject import subject_of
from generation.annotation.tokens import tokenise
from generation.config import AnnotateConfig
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.stage import Item, Keep, Outcome

_NAMES = PERSON_27.names


def annotate(caption: str) -> dict[str, int]:
    """All 27 attributes of PERSON_27 that a caption states of its main subject: name -> 0, 1, or -1 (not stated).

    Polarity as in PERSON_27: for hats, bags and colours 0 means "has it". Any text is accepted; what is not understood stays -1.
    """
    return dict(zip(_NAMES, labels_of(caption), strict=True))


@lru_cache(maxsize=65536)
def labels_of(caption: str) -> Labels:
    """The same as a tuple in the order of PERSON_27. Remembered: captioners repeat themselves."""
    tokens, symbols = settle_modifiers(tokenise(caption))
    return labels_by(subject_of(tokens, symbols), tokens, read(symbols))


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
        return [self._one(item) for item in batch]

    def teardown(self) -> None:
        pass

    def _one(self, item: Item) -> Outcome:
        values, conflicts = merge(annotate(item.row[self._config.text]), item.row.get("answers"), self._config.precedence)
        row: dict[str, Any] = {"attributes": values, "labels": PERSON_27.to_labels(values)}
        return Keep(row | {"label_conflicts": conflicts} if item.row.get("answers") is not None else row)
