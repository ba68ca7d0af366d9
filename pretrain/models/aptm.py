"""APTM: features and logits, no losses. Attributes use the weights of the text stream; there is no attribute encoder.

Legend: B pictures or texts, N image tokens (global one first), L text tokens, M masked positions, Dv image width, Dt text width,
D shared width, V vocabulary. Source: Yang et al., Towards Unified Text-based Person Retrieval (ACM MM 2023).
"""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pretrain.models.heads import MlmHead, matching_head
from pretrain.models.settings import AptmConfig, TextConfig
from pretrain.models.text import Bert, ImageMemory, Reading
from pretrain.models.vision import SwinEncoder

EMBEDDING_STD = 0.02  # BERT's; a LayerNorm follows, so the width of the model does not matter here


class TextEncoder(nn.Module):
    """BERT and its masked-LM head, under the names of a BERT checkpoint."""

    def __init__(self, config: TextConfig, image_dim: int) -> None:
        super().__init__()
        self.bert = Bert(config, image_dim)
        self.cls = MlmHead(config, self.bert.embeddings.word_embeddings)
        for part in (self.bert, self.cls.predictions.transform):  # not the decoder: it is the word embedding
            part.apply(functools.partial(_initialise, std=config.init_std))


class APTM(nn.Module):
    """Parameter names are those of the published checkpoints (`pretrain.models.layout` translates the temperature's shape)."""

    def __init__(self, config: AptmConfig) -> None:
        super().__init__()
        self.config = config
        image_dim, text_dim = config.vision.output_dim, config.text.hidden_size
        self.temp = nn.Parameter(torch.full((1,), config.temperature))  # [1]: DeepSpeed refuses a parameter without dimensions
        self.vision_encoder = SwinEncoder(config.vision)
        self.text_encoder = TextEncoder(config.text, image_dim)
        self.vision_proj = nn.Linear(image_dim, config.embed_dim)
        self.text_proj = nn.Linear(text_dim, config.embed_dim)
        self.itm_head = matching_head(text_dim)

    def encode_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) normalised -> image_embeds (B, N, Dv), image_feat (B, D), not normalised."""
        image_embeds = self.vision_encoder(image)
        return image_embeds, self.vision_proj(image_embeds[:, 0])

    def encode_text(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """ids, mask (B, L) int64 -> text_embeds (B, L, Dt), text_feat (B, D), not normalised."""
        text_embeds = self.text_encoder.bert.text(ids, mask)
        return text_embeds, self.text_proj(text_embeds[:, 0])

    def cross(self, text_embeds: Tensor, mask: Tensor, image_embeds: Tensor) -> Tensor:
        """Pairs of text_embeds (B, L, Dt) and image_embeds (B, N, Dv) -> (B, L, Dt)."""
        return self.text_encoder.bert.fuse(text_embeds, mask, image_embeds)

    def match_logits(self, cross: Tensor) -> Tensor:
        """Output of `cross` -> (B, 2): no match, match."""
        return self.itm_head(cross[:, 0])

    def image_memory(self, image_embeds: Tensor) -> ImageMemory:
        """image_embeds (B, N, Dv) -> what the cross encoder reads of them; compute it once per image."""
        return self.text_encoder.bert.image_memory(image_embeds)

    def read(self, text_embeds: Tensor, mask: Tensor, memory: ImageMemory, readings: Sequence[Reading]) -> list[Tensor]:
        """Pairs of texts (T, L, Dt) and images in one pass -> (P, M, Dt) per reading. See `Bert.fuse_pairs`."""
        return self.text_encoder.bert.fuse_pairs(text_embeds, mask, memory, readings)

    def match_pairs(self, text_embeds: Tensor, mask: Tensor, memory: ImageMemory, text_index: Tensor, image_index: Tensor) -> Tensor:
        """text_index, image_index (P,) int64 -> (P, 2) as from `match_logits`, faster."""
        first = text_index.new_zeros(len(text_index), 1)
        return self.match_logits(self.read(text_embeds, mask, memory, [Reading(text_index, image_index, first)])[0])

    def match(self, text_embeds: Tensor, mask: Tensor, image_embeds: Tensor) -> Tensor:
        """Text i with image i -> (B, 2), the same from the inputs of `cross`."""
        rows = torch.arange(len(mask), device=mask.device)
        return self.match_pairs(text_embeds, mask, self.image_memory(image_embeds), rows, rows)

    def word_logits(self, states: Tensor) -> Tensor:
        """States of the cross encoder (..., Dt) -> (..., V)."""
        return self.text_encoder.cls.predictions(states)

    def mlm_logits(self, masked_ids: Tensor, mask: Tensor, image_embeds: Tensor, positions: Tensor) -> Tensor:
        """masked_ids, mask (B, L), image_embeds (B, N, Dv), positions (B, M) int64 -> (B, M, V)."""
        rows = torch.arange(len(mask), device=mask.device)
        text_embeds = self.text_encoder.bert.text(masked_ids, mask)
        return self.word_logits(self.read(text_embeds, mask, self.image_memory(image_embeds), [Reading(rows, rows, positions)])[0])


def _initialise(module: nn.Module, std: float) -> None:
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=EMBEDDING_STD)
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=std)
        nn.init.zeros_(module.bias)
