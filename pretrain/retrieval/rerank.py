"""Text-to-image ranking: a shortlist by ITC similarity, re-ranked by the ITM head, fused over the whole matrix.

Source: APTM research code, evaluation_itm. There, several processes fuse before they exchange rows that hold the sentinel 1000, so that
the ranking depends on their number; `fuse_as_published` repeats that for any number of processes.
"""

import torch
from torch import Tensor

from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import ImageFeatures, TextFeatures, similarity_matrix

SIMILARITY_WEIGHT = 0.002
SENTINEL = 1000.0


@torch.no_grad()
def match_scores(model: APTM, texts: TextFeatures, images: ImageFeatures, rows: Tensor, columns: Tensor, batch_size: int = 512) -> Tensor:
    """Match logit of each pair text rows[i], image columns[i]; (K,) float32."""
    parts = []
    for row, column in zip(rows.split(batch_size), columns.split(batch_size), strict=True):
        parts.append(model.match(texts.embeds[row], texts.mask[row], images.embeds[column])[:, 1].float())
    return torch.cat(parts)


@torch.no_grad()
def shortlist_scores(model: APTM, texts: TextFeatures, images: ImageFeatures, shortlist: int = 128) -> Tensor:
    """(Q, G) match logits of the `shortlist` most similar images of each text; all others get the lowest of their row."""
    similarity = similarity_matrix(texts, images)
    width = min(shortlist, similarity.shape[1])
    top = similarity.topk(width, dim=1).indices
    rows = torch.arange(len(top), device=top.device).repeat_interleave(width)
    logits = match_scores(model, texts, images, rows, top.flatten()).view_as(top)
    lowest = logits.min(1, keepdim=True).values
    return lowest.expand(similarity.shape).clone().scatter_(1, top, logits)


def fuse(scores: Tensor, similarity: Tensor) -> Tensor:
    """Both (Q, G) scaled to 0..1 over the whole matrix, then scores + 0.002 * similarity: it orders what the shortlist leaves out."""
    return fuse_(scores.clone(), similarity.clone())


def fuse_(scores: Tensor, similarity: Tensor) -> Tensor:
    """The same in the memory of the two, which are overwritten."""
    return _to_unit_range(scores).add_(_to_unit_range(similarity).mul_(SIMILARITY_WEIGHT))


def rerank(model: APTM, texts: TextFeatures, images: ImageFeatures, shortlist: int = 128) -> Tensor:
    """(Q, G) final scores of the standard protocol."""
    return fuse(shortlist_scores(model, texts, images, shortlist), similarity_matrix(texts, images))


def fuse_as_published(scores: Tensor, similarity: Tensor, processes: int) -> Tensor:
    """What `processes` ranks of the research code sum to (published results used 4). One process gives `fuse`."""
    step = len(scores) // processes + 1
    total = torch.zeros_like(scores)
    for rank in range(processes):
        own = torch.full_like(scores, SENTINEL)
        own[rank * step : (rank + 1) * step] = scores[rank * step : (rank + 1) * step]
        total += fuse(own, similarity)
    return total


def _to_unit_range(matrix: Tensor) -> Tensor:
    low, high = matrix.min(), matrix.max()
    return matrix.sub_(low).div_((high - low).clamp(min=torch.finfo(matrix.dtype).tiny))
