"""ITC: image-text contrastive loss."""

import torch
from torch import Tensor

from pipeline.contracts.errors import ContractError
from pretrain.losses.reduce import in_float32


@in_float32
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
    if image_feat.shape != text_feat.shape:
        raise ContractError(f"ITC: image features {list(image_feat.shape)} and text features {list(text_feat.shape)} differ in shape")
    logits = image_feat @ text_feat.T / temperature
    if identities is None:
        targets = torch.eye(len(logits), device=logits.device)
    else:
        same = (identities[:, None] == identities[None]).float()
        targets = same / same.sum(1, keepdim=True)
    return (_cross_entropy(logits, targets) + _cross_entropy(logits.T, targets)) / 2


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum(1).mean()
