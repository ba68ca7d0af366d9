"""MAM: masked attribute modelling; each prompt is completed while looking at one image that it is true of."""

import torch
from torch import Tensor

from pretrain.losses.mlm import mlm_loss
from pretrain.losses.reduce import Counted
from pretrain.masking import IGNORED


def positive_matches(labels: Tensor) -> Tensor:
    """labels (B, A) in {0, 1, -1} -> (B, 2A) bool: prompt p is true of image b."""
    return torch.stack([labels == 0, labels == 1], -1).flatten(1)


def mam_loss(logits: Tensor, targets: Tensor, is_true: Tensor, counted: Counted) -> Tensor:
    """Mean over all hidden pieces of all prompts that are true of their image.

    logits (K, M, V); targets (K, M) with -100 for unused slots; is_true (K,) bool. Returns a scalar float32, in nats; 0 if no prompt is
    true (the research code crashes there).
    """
    return mlm_loss(logits, targets.masked_fill(~is_true[:, None], IGNORED), counted)
