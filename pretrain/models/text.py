"""BERT as text encoder and cross encoder, in the parameter names of the published checkpoints.

Layers below `fusion_layer` read text alone; those from it on attend to the image tokens too. Post-norm, exact GELU.
Legend: B texts, L text tokens, N image tokens (global one included), Dt text width, Dv image width, K heads.
Source: Devlin et al., BERT (2019); ALBEF and X-VLM for the split into text and cross encoder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

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


@dataclass(frozen=True, slots=True)
class Reading:
    """P pairs of a text and the image it reads: text_index, image_index (P,); positions (P, M) of the text that are wanted; all int64."""

    text_index: Tensor
    image_index: Tensor
    positions: Tensor


KeysValues = tuple[Tensor, Tensor]
"""Keys and values of a context, (B, K, M, Dt / K) each."""

ImageMemory = list[KeysValues]
"""What the cross encoder reads of B images, layer by layer: keys and values, computed once however many texts look at them."""


class MultiHead(nn.Module):
    """Scaled dot-product attention from `hidden` to `context`."""

    def __init__(self, config: TextConfig, context_dim: int) -> None:
        super().__init__()
        self.num_heads, self.dropout = config.num_heads, config.dropout
        self.query = nn.Linear(config.hidden_size, config.hidden_size)
        self.key = nn.Linear(context_dim, config.hidden_size)
        self.value = nn.Linear(context_dim, config.hidden_size)

    def forward(self, query: Tensor, context: KeysValues, key_bias: Tensor | None) -> Tensor:
        """query (B, K, L, Dt / K), context of M places, key_bias (B, 1, 1, M) added to logits or None -> (B, L, Dt)."""
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(query, *context, attn_mask=key_bias, dropout_p=dropout)
        return mixed.transpose(1, 2).flatten(2)

    def queries(self, hidden: Tensor) -> Tensor:
        """hidden (B, L, Dt)."""
        return _projected(hidden, self.num_heads, [self.query])[0]

    def keys_values(self, context: Tensor) -> KeysValues:
        """context (B, M, Dv or Dt)."""
        key, value = _projected(context, self.num_heads, [self.key, self.value])
        return key, value

    def all_three(self, hidden: Tensor) -> tuple[Tensor, KeysValues]:
        """Queries, keys and values of the same states (B, L, Dt)."""
        query, key, value = _projected(hidden, self.num_heads, [self.query, self.key, self.value])
        return query, (key, value)


def _projected(x: Tensor, num_heads: int, layers: Sequence[nn.Linear]) -> list[Tensor]:
    """x (B, M, D) through several layers as one product -> (B, K, M, Dt / K) each."""
    weight, bias = torch.cat([layer.weight for layer in layers]), torch.cat([layer.bias for layer in layers])
    return [part.unflatten(-1, (num_heads, -1)).transpose(1, 2) for part in F.linear(x, weight, bias).chunk(len(layers), -1)]


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

    def forward(self, hidden: Tensor, key_bias: Tensor) -> Tensor:
        """To itself: hidden (B, L, Dt) -> (B, L, Dt)."""
        return self.output(self.self(*self.self.all_three(hidden), key_bias), hidden)

    def toward(self, hidden: Tensor, context: KeysValues, key_bias: Tensor | None) -> Tensor:
        """To another context: hidden (B, L, Dt) -> (B, L, Dt)."""
        return self.output(self.self(self.self.queries(hidden), context, key_bias), hidden)


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

    def forward(self, hidden: Tensor, key_bias: Tensor, image: KeysValues | None = None) -> Tensor:
        """hidden (B, L, Dt) -> (B, L, Dt)."""
        return self.finish(self.read_text(hidden, key_bias), image)

    def read_text(self, hidden: Tensor, key_bias: Tensor, positions: Tensor | None = None) -> Tensor:
        """The first half: self-attention. (B, L, Dt), or (B, M, Dt) for the given positions (B, M); those still attend to all of hidden."""
        if positions is None:
            return self.attention(hidden, key_bias)
        return self.attention.toward(at(hidden, positions), self.attention.self.keys_values(hidden), key_bias)

    def finish(self, states: Tensor, image: KeysValues | None) -> Tensor:
        """The second half, each position by itself: cross-attention to the image, feed-forward."""
        if self.crossattention is not None:
            assert image is not None, "a layer of the cross encoder needs an image"
            states = self.crossattention.toward(states, image, None)
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

    def _cross_layers(self) -> list[Layer]:
        return cast(list[Layer], list(self.encoder.layer[self.fusion_layer :]))

    def text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask (B, L) int64 -> (B, L, Dt) after the last text layer."""
        hidden = self.embeddings(ids)
        key_bias = padding_bias(mask, hidden)
        for layer in self.encoder.layer[: self.fusion_layer]:
            hidden = layer(hidden, key_bias)
        return hidden

    def image_memory(self, image_embeds: Tensor) -> ImageMemory:
        """image_embeds (B, N, Dv) -> keys and values of every layer of the cross encoder."""
        heads = [layer.crossattention.self for layer in self._cross_layers() if layer.crossattention is not None]
        flat = _projected(image_embeds, heads[0].num_heads, [linear for head in heads for linear in (head.key, head.value)])
        return list(zip(flat[::2], flat[1::2], strict=True))

    def fuse(self, hidden: Tensor, mask: Tensor, image_embeds: Tensor) -> Tensor:
        """Text i reads image i, in full: hidden (B, L, Dt) from `text`, image_embeds (B, N, Dv) -> (B, L, Dt)."""
        key_bias = padding_bias(mask, hidden)
        for layer, image in zip(self._cross_layers(), self.image_memory(image_embeds), strict=True):
            hidden = layer(hidden, key_bias, image)
        return hidden

    def fuse_pairs(self, hidden: Tensor, mask: Tensor, memory: ImageMemory, readings: Sequence[Reading]) -> list[Tensor]:
        """All pairs of all readings in one pass; hidden (T, L, Dt) from `text`, mask (T, L) -> (P, M, Dt) per reading.

        The same numbers as `fuse` at a fraction of the work: the first self-attention does not know the image yet, so it runs once per
        text; keys and values of an image are computed once; the last layer computes only the positions that are wanted. While training,
        pairs of one text share the dropout of that first self-attention.
        """
        text_index, image_index = (torch.cat([getattr(r, name) for r in readings]) for name in ("text_index", "image_index"))
        first, *rest = self._cross_layers()
        own, *memories = ((k.index_select(0, image_index), v.index_select(0, image_index)) for k, v in memory)
        key_bias = padding_bias(mask, hidden)
        states = first.read_text(hidden, key_bias).index_select(0, text_index)
        if not rest:
            return [first.finish(at(part, r.positions), image) for r, (part, image) in _parts(readings, states, own)]
        hidden, key_bias = first.finish(states, own), key_bias.index_select(0, text_index)
        for layer, image in zip(rest[:-1], memories[:-1], strict=True):
            hidden = layer(hidden, key_bias, image)
        wanted = _parts(readings, hidden, memories[-1], key_bias)
        return [rest[-1].finish(rest[-1].read_text(part, bias, r.positions), image) for r, (part, image, bias) in wanted]


def _parts(readings: Sequence[Reading], *stacked: Tensor | KeysValues) -> Iterator[tuple[Reading, Any]]:
    """Each reading with its rows of every argument."""
    sizes = [len(reading.text_index) for reading in readings]  # split, not slices: the gradient of a split is one copy, without zeros
    rows = (t.split(sizes) if isinstance(t, Tensor) else zip(t[0].split(sizes), t[1].split(sizes), strict=True) for t in stacked)
    return zip(readings, zip(*rows, strict=True), strict=True)


def at(hidden: Tensor, positions: Tensor) -> Tensor:
    """hidden (B, L, D), positions (B, M) int64 -> (B, M, D)."""
    return hidden.gather(1, positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))


def padding_bias(mask: Tensor, like: Tensor) -> Tensor:
    """(B, L) of 1 for tokens and 0 for padding -> (B, 1, 1, L) in the dtype of `like`, 0 or -10000."""
    return ((1 - mask) * MASKED).to(like.dtype)[:, None, None, :]
