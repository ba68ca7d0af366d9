"""Texts and pictures to features, in batches, without gradient."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.models.aptm import APTM
from pretrain.tokenizer import CaptionTokenizer


@dataclass(frozen=True, slots=True)
class TextFeatures:
    """Q texts: embeds (Q, L, Dt), mask (Q, L) int64, feat (Q, D), L2-normalised."""

    embeds: Tensor
    mask: Tensor
    feat: Tensor


@dataclass(frozen=True, slots=True)
class ImageFeatures:
    """G pictures: embeds (G, N, Dv), feat (G, D), L2-normalised."""

    embeds: Tensor
    feat: Tensor


@torch.no_grad()
def encode_ids(model: APTM, ids: Tensor, mask: Tensor, batch_size: int = 256) -> TextFeatures:
    """ids, mask (Q, L) int64 on any device."""
    device = model.temp.device
    parts = [model.encode_text(i.to(device), m.to(device)) for i, m in zip(ids.split(batch_size), mask.split(batch_size), strict=True)]
    return TextFeatures(torch.cat([p[0] for p in parts]), mask.to(device), F.normalize(torch.cat([p[1] for p in parts]).float(), dim=-1))


def encode_texts(
    model: APTM, tokenizer: CaptionTokenizer, texts: Sequence[str], max_tokens: int | None = 56, batch_size: int = 256
) -> TextFeatures:
    """Puts nothing into eval mode: the caller does. max_tokens counts [CLS]; None never cuts."""
    ids, mask = tokenizer(texts, max_tokens, "longest")
    return encode_ids(model, ids, mask, batch_size)


@torch.no_grad()
def encode_images(model: APTM, batches: Iterable[Tensor]) -> ImageFeatures:
    """Batches (B, 3, H, W) of normalised pixels, in gallery order."""
    parts = [model.encode_image(pixels.to(model.temp.device)) for pixels in batches]
    return ImageFeatures(torch.cat([p[0] for p in parts]), F.normalize(torch.cat([p[1] for p in parts]).float(), dim=-1))
