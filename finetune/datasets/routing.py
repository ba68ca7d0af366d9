"""Which queries and which pictures belong together: pedestrians and vehicles are searched apart."""

import re
from collections.abc import Sequence

from finetune.datasets.challenge import kind_of_image
from finetune.datasets.records import KINDS, PEDESTRIAN, VEHICLE
from pipeline.contracts.challenge_sentences import is_pedestrian_text

_PERSON_WORDS = re.compile(r"\b(m[ae]n|wom[ae]n|male|female|persons?|people|pedestrians?|boys?|girls?|lady|ladies|he|she)\b", re.IGNORECASE)
"""None of them is a word of a colour, brand or type."""


def kind_of_query(text: str) -> str:
    """ "pedestrian" or "vehicle" by the wording: that of the published lines, or any that names a person in other words."""
    return PEDESTRIAN if is_pedestrian_text(text) or _PERSON_WORDS.search(text) else VEHICLE


def route(
    queries: Sequence[str], gallery: Sequence[str], kinds: Sequence[str | None] | None = None
) -> dict[str, tuple[list[int], list[int]]]:
    """kind -> (indices of its queries, indices of the pictures they are searched in), both ascending.

    A picture whose kind is None is searched for both. kinds: of the pictures, default: what their names tell.
    """
    names = [kind_of_image(name) for name in gallery] if kinds is None else list(kinds)
    return {
        kind: (
            [i for i, text in enumerate(queries) if kind_of_query(text) == kind],
            [i for i, name in enumerate(names) if name in (kind, None)],
        )
        for kind in KINDS
    }
