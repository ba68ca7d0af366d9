"""Losses on pairs of a batch beside SDM: InfoNCE, CMPM and RDE's triplet alignment."""

import torch
import torch.nn.functional as F
from torch import Tensor

from finetune.losses.matching import EPSILON, SCALE
from finetune.losses.reduce import in_full_precision

ROUNDS = 20  # of expectation and maximisation


@in_full_precision
def infonce_loss(image_feat: Tensor, text_feat: Tensor, scale: float | Tensor = SCALE) -> Tensor:
    """Cross entropy to the own partner, mean of both directions. image_feat, text_feat (B, D) L2-normalised; scale > 0. In nats."""
    logits = scale * image_feat @ text_feat.T
    own = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


@in_full_precision
def cmpm_loss(image_embed: Tensor, text_embed: Tensor, identities: Tensor) -> Tensor:
    """Cross-modal projection matching, both directions added. image_embed, text_embed (B, D) unnormalised; identities (B,) int64.

    Each embedding is projected on the normalised embeddings of the other modality; the matrix of equal identities is divided by the L2
    norm of its rows. Source: Zhang & Lu, ECCV 2018, as in IRRA's code.
    """
    same = (identities[:, None] == identities[None]).to(image_embed.dtype)
    targets = F.normalize(same, dim=1)
    total = image_embed.new_zeros(())
    for one, other in ((image_embed, text_embed), (text_embed, image_embed)):
        log_p = (one @ F.normalize(other, dim=1).T).log_softmax(1)
        total = total + (log_p.exp() * (log_p - (targets + EPSILON).log())).sum(1).mean()
    return total


@in_full_precision
def triplet_alignment_loss(
    image_feat: Tensor, text_feat: Tensor, match: Tensor, margin: float, temperature: float, clean: Tensor | None = None
) -> Tensor:
    """RDE's TAL: the weighted positive must beat the log-sum-exp of all negatives by a margin; sum over rows, both directions.

    image_feat, text_feat (B, D) L2-normalised; match (B, B) 0/1, texts in rows; clean (B,) 0/1, rows of 0 (pairs held for noisy) are left
    out. A row without a negative adds nothing. Source: Qin et al., CVPR 2024, equation 8: an upper bound of the hardest-negative triplet
    loss that does not collapse early.
    """
    scores = text_feat @ image_feat.T
    weights = torch.ones(len(scores), device=scores.device) if clean is None else clean.to(scores.dtype)
    one = (_alignment(scores, match > 0, margin, temperature) * weights).sum()
    return one + (_alignment(scores.T, match.T > 0, margin, temperature) * weights).sum()


def _alignment(scores: Tensor, positive: Tensor, margin: float, temperature: float) -> Tensor:
    lowest = torch.finfo(scores.dtype).min
    alpha = (scores.detach() / temperature).masked_fill(~positive, lowest).softmax(1)
    best = (alpha * scores).sum(1)
    negatives = temperature * (scores / temperature).masked_fill(positive, lowest).logsumexp(1)
    return (margin - best + negatives).clamp(min=0) * (~positive).any(1)


def confident_pairs(losses: Tensor) -> Tensor:
    """(N,) losses of pairs -> (N,) bool: those that a two-part Gaussian mixture holds for clean. RDE's consensus takes the pairs that two
    losses agree on. Deterministic: starts at the smallest and the largest loss, ROUNDS of expectation and maximisation."""
    values = (losses - losses.min()) / (losses.max() - losses.min()).clamp(min=1e-12)
    mean = torch.tensor([0.0, 1.0], dtype=torch.float64, device=values.device)  # quartiles coincide where few pairs are noisy
    spread, share = torch.full_like(mean, 0.1), torch.full_like(mean, 0.5)
    points = values.double()[:, None]
    belief = torch.full((len(points), 2), 0.5, dtype=torch.float64, device=values.device)
    for _ in range(ROUNDS):
        density = share.log() - spread.log() - ((points - mean) / spread) ** 2 / 2
        belief = density.softmax(1)
        weight = belief.sum(0).clamp(min=1e-12)
        mean, share = (belief * points).sum(0) / weight, weight / len(points)
        spread = ((belief * (points - mean) ** 2).sum(0) / weight + 1e-6).sqrt()
    return belief[:, int(mean.argmin())] > 0.5
