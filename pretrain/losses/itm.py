"""ITM: image-text matching on hard negatives of the local batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.losses.reduce import Counted, cross_entropy_mean, in_float32

IGNORED = -100


@dataclass(frozen=True, slots=True)
class NegativeWeights:
    """Probabilities, up to a factor, of drawing a negative; 0 where identities are equal. (B, B) float32 each."""

    image_for_text: Tensor  # [b, i]: image i as negative of text b
    text_for_image: Tensor  # [b, t]: text t as negative of image b


@torch.no_grad()
def negative_weights(image_feat: Tensor, text_feat: Tensor, temperature: Tensor, identities: Tensor) -> NegativeWeights:
    """Similar pairs of different identity are likely. image_feat, text_feat (B, D) L2-normalised; identities (B,) int64.

    Source: ALBEF's contrastive hard-negative mining; research code models/aptm.py, get_matching_loss.
    """
    with torch.autocast(image_feat.device.type, enabled=False):
        logits = image_feat.float() @ text_feat.float().T / temperature.float()
    same = identities[:, None] == identities[None]
    text_for_image = (logits.softmax(1) + 1e-5).masked_fill(same, 0.0)
    image_for_text = (logits.T.softmax(1) + 1e-5).masked_fill(same, 0.0)
    return NegativeWeights(image_for_text, text_for_image)


@dataclass(frozen=True, slots=True)
class Pairs:
    """3B pairs: B positives, then text b with a negative image, then image b with a negative text.

    image_index, text_index (3B,) int64; targets (3B,): 1 match, 0 no match, -100 where the batch holds no other identity.
    """

    image_index: Tensor
    text_index: Tensor
    targets: Tensor


def matching_pairs(weights: NegativeWeights, negative_image: Tensor, negative_text: Tensor) -> Pairs:
    """negative_image[b] is drawn for text b, negative_text[b] for image b; both (B,) int64."""
    rows = torch.arange(len(negative_image), device=negative_image.device)
    none_for_text = weights.image_for_text.sum(1) == 0
    none_for_image = weights.text_for_image.sum(1) == 0
    negatives = torch.cat([none_for_text, none_for_image]).long() * IGNORED
    return Pairs(
        torch.cat([rows, negative_image, rows]), torch.cat([rows, rows, negative_text]), torch.cat([torch.ones_like(rows), negatives])
    )


@in_float32
def itm_loss(logits: Tensor, targets: Tensor, counted: Counted) -> Tensor:
    """logits (3B, 2), targets (3B,) from matching_pairs -> scalar float32, mean over the valid pairs, in nats."""
    return cross_entropy_mean(logits, targets, IGNORED, counted)
