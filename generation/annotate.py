"""Caption -> 27 three-state attributes: the pure function and the stage around it.

The definition is the project's annotation guideline: keyword rules with negation scope, a main subject, and the noun that a colour belongs
to. Its words are data in `annotation/rules.yaml`. Reads the captions of the caption stage; `shard` writes the labels into the samples.
"""

from collections.abc import Sequence

from generation.annotation.labels import complete, labels_of
from generation.annotation.lexicon import lexicon
from generation.annotation.subject import find_subject, settle_modifiers
from generation.annotation.tokens import tokenise
from generation.config import AnnotateConfig
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.stage import Item, Keep, Outcome


def annotate(caption: str) -> dict[str, int]:
    """All 27 attributes of PERSON_27 that a caption states of its main subject: name -> 0, 1, or -1 (not stated).

    Polarity as in PERSON_27: for hats, bags and colours 0 means "has it". Any text is accepted; what is not understood stays -1.
    """
    tokens = settle_modifiers(tokenise(caption))
    return complete(labels_of(tokens, find_subject(tokens)), PERSON_27.names)


class AnnotateStage:
    """Adds `attributes` and `labels` to every row; drops nothing."""

    name = "annotate"
    reads_images = False
    writes_images = False
    batch_size = 1024

    def __init__(self, config: AnnotateConfig) -> None:
        self._text = config.text

    def setup(self) -> None:
        lexicon()

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        named = [annotate(item.row[self._text]) for item in batch]
        return [Keep({"attributes": values, "labels": PERSON_27.to_labels(values)}) for values in named]

    def teardown(self) -> None:
        pass
