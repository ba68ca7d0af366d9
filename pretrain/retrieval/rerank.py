"""Text-to-image ranking: match logits of the ITM head, and their fusion with ITC similarity.

Source: APTM research code, evaluation_itm. There, several processes fuse before they exchange rows that hold the sentinel 1000, so that
the ranking depends on their number.
"""

import torch
from torch import Tensor

from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import ImageFeatures, TextFeatures

SIMILARITY_WEIGHT = 0.002
SENTINEL = 1000.0


@torch.no_grad()
def match_scores(model: APTM, texts: TextFeatures, images: ImageFeatures, rows: Tensor, columns: Tensor, batch_size: int = 512) -> Tensor:
    """Match logit of each pair text rows[i], image columns[i]; (K,) float32."""
    parts = []
    for row, column in zip(rows.split(batch_size), columns.split(batch_size), strict=True):
        parts.append(model.match(texts.embeds[row], texts.mask[row], images.embeds[column])[:, 1].float())
    return torch.cat(parts)


def fuse_(scores: Tensor, similarity: Tensor) -> Tensor:
    """Both (Q, G) scaled to 0..1 over the whole matrix, then scores + 0.002 * similarity: it orders what the shortlist leaves out.

    In the memory of the two, which are overwritten.
    """
    return _to_unit_range(scores).add_(_to_unit_range(similarity).mul_(SIMILARITY_WEIGHT))


def _to_unit_range(matrix: Tensor) -> Tensor:
    low, high = matrix.min(), matrix.max()
    return matrix.sub_(low).div_((high - low).clamp(min=torch.finfo(matrix.dtype).tiny))
