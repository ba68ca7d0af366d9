"""BLIP's contrastive and matching losses with classes in place of picture numbers: FITC and FITM of the challenge's winners.

Legend: B local batch, K queue length, columns of a (B, B + K) matrix are the momentum features of the batch, then those of the queue.
"""

import torch
from torch import Tensor

from finetune.losses.reduce import in_full_precision


@torch.no_grad()
def soft_targets(similarities: Tensor, classes: Tensor, all_classes: Tensor, alpha: float) -> Tensor:
    """alpha * softmax(momentum similarities) + (1 - alpha) * even shares of the columns of equal class.

    similarities (B, B + K) of momentum features, divided by the temperature; classes (B,), all_classes (B + K,) int64, -100 in an unused
    queue slot. Every row has an equal column, its own.
    """
    equal = (classes[:, None] == all_classes[None]).to(similarities.dtype)
    return alpha * similarities.softmax(1) + (1 - alpha) * equal / equal.sum(1, keepdim=True)


@in_full_precision
def soft_contrastive_loss(image_logits: Tensor, text_logits: Tensor, image_targets: Tensor, text_targets: Tensor) -> Tensor:
    """logits and targets (B, B + K); sum over columns, mean over rows and directions, in nats. Source: BLIP retrieval."""
    one = -(image_targets * image_logits.log_softmax(1)).sum(1).mean()
    return (one - (text_targets * text_logits.log_softmax(1)).sum(1).mean()) / 2


@torch.no_grad()
def negative_weights(text_to_image: Tensor, classes: Tensor, all_classes: Tensor) -> Tensor:
    """(B, M) logits -> (B, M) weights of drawing column j as negative of row i: softmax, 0 where classes are equal. Source: BLIP.

    A row of equal classes only (a batch of one tag) is all 0: such a row has no negative and is left out of the matching loss.
    """
    return text_to_image.softmax(1).masked_fill(classes[:, None] == all_classes[None], 0.0)
