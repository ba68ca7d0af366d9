"""The heads: words from masked positions (MLM, MAM), match or no match (ITM, IAM)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.models.settings import TextConfig
from pretrain.models.text import NORM_EPS


class Transform(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, hidden: Tensor) -> Tensor:
        return self.LayerNorm(F.gelu(self.dense(hidden)))


class Predictions(nn.Module):
    """(..., Dt) -> (..., V). The decoder is the word embedding table, and `bias` is its bias: checkpoints list both twice."""

    def __init__(self, config: TextConfig, word_embeddings: nn.Embedding) -> None:
        super().__init__()
        vocab_size, dim = word_embeddings.weight.shape
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.transform = Transform(config.hidden_size)
        self.decoder = nn.Linear(dim, vocab_size, device="meta")  # meta: both tensors are replaced at once
        self.decoder.weight = word_embeddings.weight
        self.decoder.bias = self.bias

    def forward(self, hidden: Tensor) -> Tensor:
        return self.decoder(self.transform(hidden))


class MlmHead(nn.Module):
    def __init__(self, config: TextConfig, word_embeddings: nn.Embedding) -> None:
        super().__init__()
        self.predictions = Predictions(config, word_embeddings)


def matching_head(dim: int) -> nn.Sequential:
    """(B, Dt) state of [CLS] -> (B, 2) logits: no match, match."""
    return nn.Sequential(nn.Linear(dim, 2 * dim), nn.LayerNorm(2 * dim), nn.GELU(), nn.Linear(2 * dim, 2))
