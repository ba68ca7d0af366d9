"""IAM: image-attribute matching; each drawn prompt is paired with every image of the local batch."""

import torch
from torch import Tensor

from pipeline.contracts.attributes import MISSING
from pretrain.losses.reduce import cross_entropy_mean, in_float32


def matching_targets(labels: Tensor, prompts: Tensor) -> Tensor:
    """labels (B, A) in {0, 1, -1}, prompts (K,) indices below 2A -> (K, B): 1 prompt is true, 0 its opposite is, -1 not stated."""
    stated = labels[:, prompts // 2].T
    match = (stated == (prompts % 2)[:, None]).long()
    return torch.where(stated == MISSING, MISSING, match)


@in_float32
def iam_loss(logits: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """logits (K, B, 2) no match, match; targets (K, B) from matching_targets -> scalar float32, in nats.

    Mean over the rows that state the attribute, then over the K prompts; a prompt that no row states adds 0 and counts.
    """
    losses = [cross_entropy_mean(one, target, MISSING, smoothing) for one, target in zip(logits, targets, strict=True)]
    return torch.stack(losses).mean()
