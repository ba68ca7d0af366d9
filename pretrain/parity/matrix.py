"""The ranking of the research code by whole (Q, G) matrices: what `pretrain.retrieval.blocked` computes without one."""

import torch
from torch import Tensor

from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import ImageFeatures, TextFeatures
from pretrain.retrieval.rerank import SENTINEL, fuse_, match_scores


def similarity_matrix(texts: TextFeatures, images: ImageFeatures) -> Tensor:
    """(Q, G) cosine similarity, no temperature."""
    return texts.feat @ images.feat.T


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
    """`fuse_` on copies."""
    return fuse_(scores.clone(), similarity.clone())


def fuse_as_published(scores: Tensor, similarity: Tensor, processes: int) -> Tensor:
    """What `processes` ranks of the research code sum to (published results used 4). One process gives `fuse`."""
    step = len(scores) // processes + 1
    total = torch.zeros_like(scores)
    for rank in range(processes):
        own = torch.full_like(scores, SENTINEL)
        own[rank * step : (rank + 1) * step] = scores[rank * step : (rank + 1) * step]
        total += fuse(own, similarity)
    return total
