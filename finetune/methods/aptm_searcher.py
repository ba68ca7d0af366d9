"""APTM as a searcher."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from finetune.data import decode
from pretrain.augment import normalise
from pretrain.captions import pre_caption
from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import ImageFeatures, TextFeatures, encode_images, encode_texts
from pretrain.retrieval.rerank import fuse_, match_scores
from pretrain.settings import AugmentConfig
from pretrain.tokenizer import CaptionTokenizer


class AptmSearcher:
    """`max_tokens`, `max_words` and `clean` as in the training; `image` for its mean and deviation."""

    has_matching = True

    def __init__(
        self, model: APTM, tokenizer: CaptionTokenizer, image: AugmentConfig, max_tokens: int, max_words: int, clean: bool
    ) -> None:
        self.model, self.tokenizer, self.image = model, tokenizer, image
        self.max_tokens, self.max_words, self.clean = max_tokens, max_words, clean

    def pixels(self, picture: bytes, where: str) -> np.ndarray:
        return normalise(decode(picture, self.model.config.vision, where), self.image.mean, self.image.std)

    def embed_images(self, pixels: Tensor) -> ImageFeatures:
        return encode_images(self.model, [pixels])

    def embed_texts(self, texts: Sequence[str]) -> TextFeatures:
        captions = [pre_caption(text, self.max_words, self.clean) for text in texts]
        return encode_texts(self.model, self.tokenizer, captions, self.max_tokens)

    @torch.no_grad()
    def match(self, texts: TextFeatures, rows: Tensor, image_embeds: Tensor) -> Tensor:
        images = ImageFeatures(image_embeds, image_embeds[:, 0])
        return match_scores(self.model, texts, images, rows, torch.arange(len(rows), device=rows.device))

    def fuse(self, similarity: Tensor, top: Tensor, scores: Tensor) -> Tensor:
        """The published fusion over the whole matrix."""
        lowest = scores.min(1, keepdim=True).values
        return fuse_(lowest.expand(similarity.shape).clone().scatter_(1, top, scores), similarity)
