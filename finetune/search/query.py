"""A sentence to pictures: `passerby search`. Cosine shortlist from the index, re-ranked by the matching head, with reasons."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from finetune.methods.base import Searcher
from finetune.search.index import CHUNK, Index
from finetune.search.pictures import read_upright
from pipeline.contracts.attributes import PERSON_27, AttributeSpace
from pipeline.contracts.challenge import BITS_21
from pipeline.contracts.errors import ConfigError
from pretrain.retrieval.encode import TextFeatures

SPACES: dict[str, AttributeSpace] = {space.name: space for space in (PERSON_27, BITS_21)}
TEMPERATURE = 0.07  # of the softmax over the two prompts of an attribute: where training starts
REASONS = 5  # attributes that a result names


@dataclass(frozen=True, slots=True)
class Reason:
    """A prompt and the probability that it is true of the picture, 0.5 to 1."""

    text: str
    probability: float

    def __str__(self) -> str:
        return f"{self.text} ({self.probability:.0%})"


@dataclass(frozen=True, slots=True)
class Hit:
    """score: what the order goes by; match: of the matching head, None without one; attributes: probability of the label 1."""

    rank: int
    image: str
    path: str
    score: float
    similarity: float
    match: float | None
    attributes: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def reasons(self, space: AttributeSpace, count: int = REASONS) -> list[Reason]:
        """The surest statements about the picture."""
        sure = sorted(self.attributes.items(), key=lambda item: -abs(item[1] - 0.5))[:count]
        prompts = {attribute.name: attribute.prompts for attribute in space.attributes}
        return [Reason(prompts[name][p >= 0.5], max(p, 1 - p)) for name, p in sure]


class SearchEngine:
    """One open index and its model. space: attributes that explain and filter."""

    def __init__(self, index: Index, searcher: Searcher, space: AttributeSpace = PERSON_27) -> None:
        self.index, self.searcher, self.space = index, searcher, space
        searcher.model.eval()
        prompts = searcher.embed_texts(space.prompts).feat.cpu().numpy()
        if prompts.shape[1] != index.features.shape[1]:
            raise ConfigError(f"{index.folder} holds features of {index.features.shape[1]} numbers, the model gives {prompts.shape[1]}")
        self._prompts = prompts

    def search(self, text: str, count: int = 10, shortlist: int = 128, filters: Mapping[str, int] | None = None) -> list[Hit]:
        """The best `count` pictures. filters: attribute -> label; a picture that is likelier to have the other label is left out.

        Raises ConfigError for an empty text or an unknown attribute.
        """
        if not text.strip():
            raise ConfigError("the query is empty; give a sentence such as 'a woman in a red coat with a backpack'")
        self._check(filters or {})
        texts = self.searcher.embed_texts([text])
        allowed = self._allowed(filters) if filters else None
        cosines, rows = self.index.nearest(texts.feat[0].cpu().numpy(), max(count, shortlist), allowed)
        matches = self._matches(texts, rows[:shortlist].tolist())
        order = _order(cosines, matches)[:count]
        return [self._hit(number, int(rows[i]), float(cosines[i]), matches, i) for number, i in enumerate(order, start=1)]

    def attributes(self, row: int) -> dict[str, float]:
        """Probability of the label 1 of every attribute, by the two prompts' cosines."""
        odds = self._margins(np.asarray(self.index.features[row : row + 1]))[0] / TEMPERATURE
        return dict(zip(self.space.names, (1 / (1 + np.exp(-odds))).tolist(), strict=True))

    @cached_property
    def likelier(self) -> np.ndarray:
        """(N, A) bool: is the label 1 the likelier one? Of all pictures, when a filter first asks."""
        found = np.empty((len(self.index.names), len(self.space)), bool)
        for start in range(0, len(found), CHUNK):
            found[start : start + CHUNK] = self._margins(np.asarray(self.index.features[start : start + CHUNK])) >= 0
        return found

    def _margins(self, features: np.ndarray) -> np.ndarray:
        """(B, D) -> (B, A): cosine of the prompt of label 1 less that of label 0."""
        cosines = features @ self._prompts.T
        return cosines[:, 1::2] - cosines[:, ::2]

    def _hit(self, rank: int, row: int, cosine: float, matches: Sequence[float], place: int) -> Hit:
        name = self.index.names[row]
        match = matches[place] if place < len(matches) else None
        score = cosine if match is None else match + cosine
        return Hit(rank, name, str(self.index.pictures / name), score, cosine, match, self.attributes(row))

    def _allowed(self, filters: Mapping[str, int]) -> np.ndarray:
        """Rows of the pictures that are likelier to have every label of `filters`."""
        columns = [self.space.names.index(name) for name in filters]
        return np.flatnonzero((self.likelier[:, columns] == np.array(list(filters.values()), bool)).all(1))

    def _check(self, filters: Mapping[str, int]) -> None:
        if unknown := sorted(set(filters) - set(self.space.names)):
            raise ConfigError(f"unknown attributes {', '.join(unknown)}; accepted: {', '.join(self.space.names)}")
        if bad := {name: label for name, label in filters.items() if label not in (0, 1)}:
            raise ConfigError(f"filters {bad}; accepted: 0 or 1, of which the attribute's prompts say what they mean")

    def _matches(self, texts: TextFeatures, rows: Sequence[int]) -> list[float]:
        """Matching scores of the first pictures, read again from disk; none without a matching head or where a picture is gone."""
        if not self.searcher.has_matching or not rows:
            return []
        paths = [self.index.pictures / self.index.names[row] for row in rows]
        scores: list[float] = []
        for start in range(0, len(paths), 32):
            chunk = paths[start : start + 32]
            if gone := [str(path) for path in chunk if not path.is_file()]:
                raise ConfigError(f"{gone[0]} is in the index and no longer in its folder; run `passerby index` again")
            pixels = torch.from_numpy(np.stack([self.searcher.pixels(read_upright(path), str(path)) for path in chunk]))
            embeds = self.searcher.embed_images(pixels).embeds
            text_rows = torch.zeros(len(embeds), dtype=torch.int64, device=embeds.device)
            scores += self.searcher.match(texts, text_rows, embeds).tolist()
        return scores


def _order(cosines: np.ndarray, matches: Sequence[float]) -> list[int]:
    """Re-ranked ones first, by match + cosine; then the others by cosine."""
    first = sorted(range(len(matches)), key=lambda i: -(matches[i] + cosines[i]))
    return first + sorted(range(len(matches), len(cosines)), key=lambda i: -cosines[i])
