"""ITC: image-text contrastive loss, whole, by rows of one rank, or in chunks that are computed again in the backward pass."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from pipeline.contracts.errors import ContractError
from pretrain.losses.reduce import in_float32


@dataclass(frozen=True, slots=True)
class Pairs:
    """image, text (B, D), L2-normalised, row i of one describes row i of the other; identities (B,) int64, equal for the same person."""

    image: Tensor
    text: Tensor
    identities: Tensor

    def __post_init__(self) -> None:
        if self.image.shape != self.text.shape:
            raise ContractError(f"ITC: image features {list(self.image.shape)} and text features {list(self.text.shape)} differ in shape")

    def detached(self) -> "Pairs":
        return Pairs(self.image.detach(), self.text.detach(), self.identities)

    @staticmethod
    def joined(parts: "list[Pairs]") -> "Pairs":
        """One below the other."""
        return Pairs(*(torch.cat([getattr(part, name) for part in parts]) for name in ("image", "text", "identities")))


def itc_loss(image_feat: Tensor, text_feat: Tensor, temperature: Tensor, identities: Tensor | None = None) -> Tensor:
    """Contrastive cross entropy, mean of both directions.

    Args:
        image_feat: (B, D), L2-normalised; B counts the samples gathered from all ranks.
        text_feat: (B, D), L2-normalised; row i describes image i.
        temperature: > 0, one element; logits are cosine similarity / temperature.
        identities: (B,) int64 or None. Rows of equal identity are all positives and share the target mass evenly; None: the diagonal.

    Returns: scalar float32, in nats. Raises: ContractError if the two feature matrices differ in shape.
    Source: APTM (Yang et al., ACM MM 2023), ITC; research code models/aptm.py, get_contrastive_loss.
    """
    ids = torch.arange(len(image_feat), device=image_feat.device) if identities is None else identities
    pairs = Pairs(image_feat, text_feat, ids)
    return itc_rows_loss(pairs, pairs, temperature)


def itc_rows_loss(own: Pairs, columns: Pairs, temperature: Tensor, chunk: int = 0) -> Tensor:
    """The part of `itc_loss` over `columns` that belongs to the rows `own`, which are among the columns. Scalar float32, mean over rows.

    The mean of this over ranks with equally many rows is the loss of one process; no rank builds more than (B, C) logits. With chunk > 0
    that many rows are computed at a time, and again in the backward pass, so that only (chunk, C) logits exist at any moment.
    """
    size = chunk or len(own.image)
    total = own.image.new_zeros((), dtype=torch.float32)
    for start in range(0, len(own.image), size):
        rows = slice(start, start + size)
        arguments = own.image[rows], own.text[rows], own.identities[rows], columns.image, columns.text, columns.identities, temperature
        total = total + (checkpoint(_summed, *arguments, use_reentrant=False) if chunk else _summed(*arguments))
    return total / (2 * len(own.image))


@in_float32
def _summed(
    image: Tensor, text: Tensor, identities: Tensor, all_images: Tensor, all_texts: Tensor, all_identities: Tensor, temperature: Tensor
) -> Tensor:
    """Sum over these rows and both directions."""
    same = (identities[:, None] == all_identities[None]).float()
    targets = same / same.sum(1, keepdim=True)
    return _cross_entropy(image @ all_texts.T / temperature, targets) + _cross_entropy(text @ all_images.T / temperature, targets)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum()
