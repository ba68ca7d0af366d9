"""MLM: masked language modelling with the image in view."""

from torch import Tensor

from pretrain.losses.reduce import Counted, cross_entropy_mean, in_float32
from pretrain.masking import IGNORED


@in_float32
def mlm_loss(logits: Tensor, targets: Tensor, counted: Counted) -> Tensor:
    """logits (B, M, V), targets (B, M) int64 with -100 for unused slots -> scalar float32, mean over used slots, in nats."""
    return cross_entropy_mean(logits, targets, IGNORED, counted)
