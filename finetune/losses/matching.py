"""Similarity distribution matching (SDM) and, with another matrix of who matches whom, inclusion relation matching (IRM).

Legend: B samples gathered from all ranks, row i of any (B, B) matrix is text i, column j image j.
Source: IRRA (Jiang & Ye, CVPR 2023), SDM; the challenge's winning solution for IRM.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from finetune.losses.reduce import in_full_precision

SCALE = 50.0  # 1 / 0.02, a constant
EPSILON = 1e-8
SOFT = 0.3
Reading = Literal["recommended", "same", "released"]
Divergence = Literal["reverse", "forward"]
"""Of the predictions p from the targets q: "reverse" is KL(p || q), the published form; "forward" is KL(q || p), cross entropy."""


@dataclass(frozen=True, slots=True)
class Targets:
    """Distributions over the other modality, (B, B) each: text_to_image[i] over images, image_to_text[j] over texts."""

    text_to_image: Tensor
    image_to_text: Tensor


def same_identity(identities: Tensor, image_ids: Tensor | None = None) -> Tensor:
    """(B,) int64 -> (B, B) float32. With image_ids, pairs of one picture count 1 and others of its identity SOFT (an IRRA option)."""
    same = (identities[:, None] == identities[None]).float()
    if image_ids is None:
        return same
    own = (image_ids[:, None] == image_ids[None]).float()
    return (same - own) * SOFT + own


def inclusion(attributes: Tensor, equal: tuple[int, ...] = (0,), images: Tensor | None = None) -> Tensor:
    """(B, A) of 0 or 1 -> (B, B) float32: 1 where every set bit of row i is set in row j, and the bits `equal` agree.

    Gender must agree because 0 says male and not "unknown"; the paper's formula omits it, the winners' code does not.
    images: (B, A) bits of the columns, if they are not those of the rows (bits that a text mentions against all bits of a picture).
    """
    asked, have = attributes.float(), (attributes if images is None else images).float()
    wanted = asked.clone()
    wanted[:, list(equal)] = 0
    match = wanted @ have.T == wanted.sum(1, keepdim=True)
    for bit in equal:
        match &= asked[:, None, bit] == have[None, :, bit]
    return match.float()


def distributions(match: Tensor, reading: Reading) -> Targets:
    """match (B, B) >= 0, texts in rows, to targets.

    "recommended": each row sums to 1, and images use the transposed matrix. "same": rows sum to 1, images use the matrix of the texts.
    "released": as in the published code, which divides columns by the sums of rows and uses that for both; harmless only where the matrix
    is symmetric and equal identities have equal sums.
    """
    sums = match.sum(1)
    if reading == "released":
        shared = match / sums[None]
        return Targets(shared, shared)
    rows = match / sums[:, None].clamp(min=torch.finfo(match.dtype).tiny)
    if reading == "same":
        return Targets(rows, rows)
    return Targets(rows, match.T / match.sum(0)[:, None].clamp(min=torch.finfo(match.dtype).tiny))


@in_full_precision
def matching_loss(
    image_feat: Tensor, text_feat: Tensor, targets: Targets, scale: float = SCALE, divergence: Divergence = "reverse"
) -> Tensor:
    """Divergence of predicted from target distributions, both directions added (not halved), mean over rows; in nats.

    image_feat, text_feat: (B, D) L2-normalised. scale: > 0, factor of the cosine similarities. Probability mass that "reverse" puts on a
    pair without target mass costs -log(1e-8), 18.4 nats.
    """
    logits = scale * text_feat @ image_feat.T
    pairs = ((logits, targets.text_to_image), (logits.T, targets.image_to_text))
    return torch.stack([_divergence(one, target, divergence) for one, target in pairs]).sum()


def _divergence(logits: Tensor, target: Tensor, kind: Divergence) -> Tensor:
    log_p = logits.log_softmax(1)
    if kind == "forward":
        return (torch.xlogy(target, target) - target * log_p).sum(1).mean()
    return (log_p.exp() * (log_p - (target + EPSILON).log())).sum(1).mean()
