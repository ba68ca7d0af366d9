"""Heads on global features: identities (ID), masked tokens (MLM), and the bits of attribute classification (AC)."""

import torch.nn.functional as F
from torch import Tensor

from finetune.losses.reduce import in_full_precision
from pretrain.losses.reduce import Counted, as_counted_here, divisor

UNMASKED = 0  # target of a token that was not selected; CLIP's padding id too


@in_full_precision
def id_loss(image_logits: Tensor, text_logits: Tensor, classes: Tensor) -> Tensor:
    """logits (B, C), classes (B,) int64 -> mean of the two cross entropies, in nats. Source: IRRA."""
    return (F.cross_entropy(image_logits, classes) + F.cross_entropy(text_logits, classes)) / 2


@in_full_precision
def masked_token_loss(logits: Tensor, targets: Tensor, counted: Counted = as_counted_here) -> Tensor:
    """logits (..., V), targets (...) int64, 0 where nothing was masked -> mean over the masked tokens, in nats; 0 if there is none.

    counted: what the mean is over, the rows of this rank or of all.
    """
    flat = targets.flatten()
    summed = F.cross_entropy(logits.flatten(0, -2), flat, ignore_index=UNMASKED, reduction="sum")
    return summed / divisor((flat != UNMASKED).sum(), counted)


@in_full_precision
def ac_loss(
    image_logits: Tensor,
    text_logits: Tensor,
    labels: Tensor,
    focus: float = 0.0,
    shift: Tensor | None = None,
    counted: Counted = as_counted_here,
) -> Tensor:
    """Attribute classification: sigmoid cross entropy, mean over stated bits, mean of the two modalities, in nats.

    Args:
        image_logits, text_logits: (B, A).
        labels: (B, A) in {0, 1, -1}; -1 is not stated and left out. The picture's bits are the target of the text too, as published.
        focus: gamma of the focal variant (the winners wrote one with 2 and did not use it); 0: plain.
        shift: (A,) added to the logits while training: tau * log(prior / (1 - prior)) of each bit (`logit_shift`). Scores are taken without
            it, so that rare bits are not drowned.
        counted: what the mean is over, the stated bits of this rank or of all.
    """
    stated = labels >= 0
    targets = labels.clamp(min=0).to(image_logits.dtype)
    total = image_logits.new_zeros(())
    for logits in (image_logits, text_logits):
        shifted = logits if shift is None else logits + shift
        losses = F.binary_cross_entropy_with_logits(shifted, targets, reduction="none")
        if focus:
            losses = losses * (1 - (-losses).exp()) ** focus
        total = total + (losses * stated).sum() / divisor(stated.sum(), counted)
    return total / 2


def logit_shift(labels: Tensor, tau: float) -> Tensor:
    """(N, A) labels in {0, 1, -1} -> (A,) tau * log-odds of each bit, smoothed by one example of either value.

    Source: Menon et al., ICLR 2021, for one sigmoid per bit.
    """
    ones, zeros = (labels == 1).sum(0) + 1.0, (labels == 0).sum(0) + 1.0
    return tau * (ones / zeros).log()
