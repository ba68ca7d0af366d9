"""IAM: image-attribute matching; each drawn prompt is paired with every image of the local batch."""

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts.attributes import MISSING
from pretrain.losses.reduce import Counted, divisor, in_float32


def matching_targets(labels: Tensor, prompts: Tensor) -> Tensor:
    """labels (B, A) in {0, 1, -1}, prompts (K,) indices below 2A -> (K, B): 1 prompt is true, 0 its opposite is, -1 not stated."""
    stated = labels[:, prompts // 2].T
    match = (stated == (prompts % 2)[:, None]).long()
    return torch.where(stated == MISSING, MISSING, match)


@in_float32
def iam_loss(logits: Tensor, targets: Tensor, smoothing: float, counted: Counted) -> Tensor:
    """logits (K, B, 2) no match, match; targets (K, B) from matching_targets -> scalar float32, in nats.

    Mean over the rows that state the attribute, then over the K prompts; a prompt that no row states adds 0 and counts.
    """
    per_row = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=MISSING, reduction="none", label_smoothing=smoothing)
    return (per_row.view_as(targets).sum(1) / divisor((targets != MISSING).sum(1), counted)).mean()
