"""Ranking of many texts against many pictures in blocks of texts: a shortlist by ITC similarity, re-ranked by the ITM head.

100,000 texts and pictures would make matrices of 40 GB. What is held here is features, and a shortlist of each text with its match logits;
a block of scores (B, G) is computed when it is needed. Blocks go round among the ranks. Ties keep the order of the gallery, so neither
the size of the blocks nor the number of ranks changes a rank.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pretrain.distributed import gather_objects, rank, sum_over_ranks, world_size
from pretrain.retrieval.metrics import METRICS, means, query_metrics, relevant_ranks
from pretrain.retrieval.rerank import SENTINEL, SIMILARITY_WEIGHT

BLOCK = 256  # texts; with 100,000 pictures a block of scores is 102 MB

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Shortlists:
    """top (Q, K): places of the K most similar pictures of each text, ascending; low, high: of all Q x G similarities."""

    top: Tensor
    low: float
    high: float


@torch.no_grad()
def shortlists(texts: Tensor, images: Tensor, width: int, block: int = BLOCK) -> Shortlists:
    """texts (Q, D), images (G, D), L2-normalised. Every rank calls it with the same features."""
    width = min(width, len(images))
    top = torch.zeros(len(texts), width, dtype=torch.long, device=texts.device)
    low, high = float("inf"), -float("inf")
    for rows in _own_blocks(len(texts), block):
        similarity = texts[rows] @ images.T
        low, high = min(low, similarity.min().item()), max(high, similarity.max().item())
        top[rows] = most_similar(similarity, width)
    lows, highs = zip(*gather_objects((low, high)), strict=True)
    return Shortlists(sum_over_ranks(top), min(lows), max(highs))


def most_similar(similarity: Tensor, width: int) -> Tensor:
    """(B, G) -> (B, width) places of the largest values, ascending; of equal values the first ones. topk alone leaves ties to chance."""
    least = similarity.topk(width, dim=1).values[:, -1:]
    above, equal = similarity > least, similarity == least
    room = width - above.sum(1, keepdim=True)
    if bool((equal.sum(1, keepdim=True) > room).any()):
        equal &= equal.cumsum(1) <= room
    return (above | equal).nonzero()[:, 1].view(len(similarity), width)


class Ranking:
    """Scores by blocks of texts, and what follows from them."""

    def __init__(self, texts: Tensor, images: Tensor, found: Shortlists, logits: Tensor, published_processes: int = 1) -> None:
        """logits (Q, K) float32: match logit of each text with the pictures of its shortlist."""
        self._texts, self._images, self._found, self._logits = texts, images, found, logits
        self._step = len(texts) // published_processes + 1
        self._ranges = [self._range(logits[p * self._step : (p + 1) * self._step]) for p in range(published_processes)]

    def _range(self, own: Tensor) -> Range:
        """Least and largest of the match scores that one process of the research code scales; the rows of others hold the sentinel."""
        values = [own.min().item(), own.max().item()] if len(own) else []
        if len(own) < len(self._logits):
            values.append(SENTINEL)
        return min(values), max(values)

    def similarity(self, rows: slice) -> Tensor:
        """(B, G) cosines."""
        return self._texts[rows] @ self._images.T

    def fused(self, rows: slice, similarity: Tensor) -> Tensor:
        """(B, G) final scores, for several published processes those that the research code sums to."""
        logits = self._logits[rows]
        scores = logits.min(1, keepdim=True).values.expand(similarity.shape).clone().scatter_(1, self._found.top[rows], logits)
        order = _scaled(similarity.clone(), (self._found.low, self._found.high)).mul_(SIMILARITY_WEIGHT)
        if len(self._ranges) == 1:
            return _scaled(scores, self._ranges[0]).add_(order)
        owner = torch.arange(rows.start, rows.start + len(logits), device=scores.device)[:, None] // self._step
        total = torch.zeros_like(scores)
        for process, scale in enumerate(self._ranges):
            total += _scaled(torch.where(owner == process, scores, SENTINEL), scale) + order
        return total

    def first(self, row: int, count: int, reranked: bool = True) -> list[int]:
        """Places of the first `count` pictures of one text."""
        rows = slice(row, row + 1)
        similarity = self.similarity(rows)
        scores = self.fused(rows, similarity) if reranked else similarity
        return scores[0].argsort(descending=True, stable=True)[:count].tolist()

    @torch.no_grad()
    def metrics(self, positives: Sequence[np.ndarray], block: int = BLOCK) -> tuple[dict[str, float], dict[str, float]]:
        """Of the final scores, and of the cosines alone; positives as `positives_of` gives them. Every rank calls it."""
        found = torch.zeros(2, len(self._texts), len(METRICS), dtype=torch.float64)
        for rows in _own_blocks(len(self._texts), block):
            similarity = self.similarity(rows)
            for number, scores in enumerate((self.fused(rows, similarity), similarity)):
                found[number, rows] = torch.from_numpy(query_metrics(relevant_ranks(scores.cpu().numpy(), positives[rows], rows.start)))
        fused, plain = sum_over_ranks(found.to(self._texts.device)).cpu().numpy()
        return means(fused), means(plain)


def _own_blocks(size: int, block: int) -> Iterator[slice]:
    """The blocks of this rank."""
    for start in range(rank() * block, size, world_size() * block):
        yield slice(start, min(start + block, size))


def _scaled(matrix: Tensor, scale: Range) -> Tensor:
    """To 0..1, in place."""
    low, high = (torch.tensor(value, dtype=matrix.dtype, device=matrix.device) for value in scale)
    return matrix.sub_(low).div_((high - low).clamp(min=torch.finfo(matrix.dtype).tiny))
