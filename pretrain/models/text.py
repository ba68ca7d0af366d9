"""BERT as text encoder and cross encoder, in the parameter names of the published checkpoints.

Layers below `fusion_layer` read text alone; those from it on attend to the image tokens too. Post-norm, exact GELU.
Legend: B texts, L text tokens, N image tokens (global one included), Dt text width, Dv image width, K heads.
Source: Devlin et al., BERT (2019); ALBEF and X-VLM for the split into text and cross encoder.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.models.settings import TextConfig

NORM_EPS = 1e-12
PAD_ID = 0  # in every BERT vocabulary; `pretrain.tokenizer` refuses another
MASKED = -10000.0  # added to the logits of padding keys
TOKEN_TYPES = 2  # only type 0 is used; the table is part of every BERT checkpoint


class Embeddings(nn.Module):
    """ids (B, L) int64 -> (B, L, Dt)."""

    position_ids: Tensor

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        assert config.vocab_size is not None, "vocab_size is resolved from the vocabulary before a model is built"
        self.register_buffer("position_ids", torch.arange(config.max_positions).unsqueeze(0))
        # As in BERT, looking up [PAD] gives its row no gradient; as a target of the tied decoder it has one.
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=PAD_ID)
        self.position_embeddings = nn.Embedding(config.max_positions, config.hidden_size)
        self.token_type_embeddings = nn.Embedding(TOKEN_TYPES, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=NORM_EPS)
        self.dropout = config.dropout

    def forward(self, ids: Tensor) -> Tensor:
        positions = self.position_embeddings(self.position_ids[:, : ids.shape[1]])
        summed = self.word_embeddings(ids) + self.token_type_embeddings.weight[0] + positions
        return F.dropout(self.LayerNorm(summed), self.dropout, self.training)


class MultiHead(nn.Module):
    """Scaled dot-product attention from `hidden` to `context`."""

    def __init__(self, config: TextConfig, context_dim: int) -> None:
        super().__init__()
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(context_dim, config.hidden_size)
        self.value = nn.Linear(context_dim, config.hidden_size)

    def forward(self, hidden: Tensor, context: Tensor, key_bias: Tensor | None) -> Tensor:
        """hidden (B, L, Dt), context (B, M, Dv or Dt), key_bias (B, 1, 1, M) added to logits or None -> (B, L, Dt)."""
        query, key, value = (self._split(t) for t in (self.query(hidden), self.key(context), self.value(context)))
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=key_bias, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class AddNorm(nn.Module):
    """LN(dropout(dense(x)) + residual)."""

    def __init__(self, config: TextConfig, input_dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(input_dim, config.hidden_size)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=NORM_EPS)
        self.dropout = config.dropout

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(F.dropout(self.dense(x), self.dropout, self.training) + residual)


class Attention(nn.Module):
    """Attention sub-block; its two children carry BERT's names `self` and `output`."""

    def __init__(self, config: TextConfig, context_dim: int) -> None:
        super().__init__()
        self.self = MultiHead(config, context_dim)
        self.output = AddNorm(config, config.hidden_size)

    def forward(self, hidden: Tensor, context: Tensor, key_bias: Tensor | None) -> Tensor:
        return self.output(self.self(hidden, context, key_bias), hidden)


class Intermediate(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.intermediate_size)

    def forward(self, hidden: Tensor) -> Tensor:
        return F.gelu(self.dense(hidden))


class Layer(nn.Module):
    """Self-attention, cross-attention where the layer belongs to the cross encoder, feed-forward."""

    def __init__(self, config: TextConfig, image_dim: int | None) -> None:
        super().__init__()
        self.attention = Attention(config, config.hidden_size)
        self.crossattention = None if image_dim is None else Attention(config, image_dim)
        self.intermediate = Intermediate(config)
        self.output = AddNorm(config, config.intermediate_size)

    def forward(self, hidden: Tensor, key_bias: Tensor, image_embeds: Tensor | None, positions: Tensor | None = None) -> Tensor:
        """hidden (B, L, Dt) -> (B, L, Dt), or (B, M, Dt) for the given positions (B, M) alone; those still attend to all of hidden."""
        states = self.attention(hidden if positions is None else at(hidden, positions), hidden, key_bias)
        if self.crossattention is not None:
            states = self.crossattention(states, image_embeds, None)
        return self.output(self.intermediate(states), states)


class LayerStack(nn.Module):
    def __init__(self, config: TextConfig, image_dim: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config, image_dim if i >= config.fusion_layer else None) for i in range(config.num_layers))


class Bert(nn.Module):
    """Embeddings and all layers; text mode and fusion mode run a part of them."""

    def __init__(self, config: TextConfig, image_dim: int) -> None:
        super().__init__()
        self.fusion_layer = config.fusion_layer
        self.embeddings = Embeddings(config)
        self.encoder = LayerStack(config, image_dim)

    def text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask (B, L) int64 -> (B, L, Dt) after the last text layer."""
        hidden = self.embeddings(ids)
        key_bias = padding_bias(mask, hidden)
        for layer in self.encoder.layer[: self.fusion_layer]:
            hidden = layer(hidden, key_bias, None)
        return hidden

    def fuse(self, hidden: Tensor, mask: Tensor, image_embeds: Tensor, positions: Tensor | None = None) -> Tensor:
        """hidden (B, L, Dt) from `text`, image_embeds (B, N, Dv) -> (B, L, Dt), or (B, M, Dt) at positions (B, M) alone.

        Whoever wants a few positions saves most of the last layer: nothing reads its other outputs.
        """
        key_bias = padding_bias(mask, hidden)
        *lower, last = self.encoder.layer[self.fusion_layer :]
        for layer in lower:
            hidden = layer(hidden, key_bias, image_embeds)
        return last(hidden, key_bias, image_embeds, positions)


def at(hidden: Tensor, positions: Tensor) -> Tensor:
    """hidden (B, L, D), positions (B, M) int64 -> (B, M, D)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def padding_bias(mask: Tensor, like: Tensor) -> Tensor:
    """(B, L) of 1 for tokens and 0 for padding -> (B, 1, 1, L) in the dtype of `like`, 0 or -10000."""
    return ((1 - mask) * MASKED).to(like.dtype)[:, None, None, :]
