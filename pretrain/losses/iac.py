"""IAC: image-attribute contrastive loss, from images to the two prompts of each attribute."""

import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts.attributes import MISSING
from pretrain.losses.reduce import Counted, divisor, in_float32


@in_float32
def iac_loss(
    image_feat: Tensor,
    prompt_feat: Tensor,
    temperature: Tensor,
    labels: Tensor,
    smoothing: float,
    counted: Counted,
) -> Tensor:
    """Two-way cross entropy per attribute: mean over the rows that state it, sum over attributes divided by their number.

    Args:
        image_feat: (B, D), L2-normalised, local batch.
        prompt_feat: (2A, D), L2-normalised; prompt p is true when attribute p // 2 has label p % 2.
        temperature: > 0, one element.
        labels: (B, A) int64 in {0, 1, -1}; -1 is not stated.
        smoothing: e in [0, 1); the target is (1 - e) * one-hot + e / 2.
        counted: see `pretrain.losses.reduce.Counted`.

    Returns: scalar float32, in nats. An attribute that no row states adds 0 and still counts in the divisor, as published.
    Source: APTM, IAC. With smoothing 0 the research code returns NaN for such an attribute; we do not.
    """
    logits = (image_feat @ prompt_feat.T / temperature).unflatten(1, (-1, 2))
    per_row = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=MISSING, reduction="none", label_smoothing=smoothing)
    return (per_row.view_as(labels).sum(0) / divisor((labels != MISSING).sum(0), counted)).mean()
