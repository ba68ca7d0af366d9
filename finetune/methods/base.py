"""What the training loop, evaluation, prediction and search ask of a model: one interface for APTM, IRRA, BLIP and CLIP."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pretrain.retrieval.encode import ImageFeatures, TextFeatures
from pretrain.retrieval.gallery import Gallery


class Searcher(Protocol):
    """A model in eval mode that compares texts with pictures. Features are L2-normalised float32."""

    has_matching: bool  # is there a head that looks at a text and a picture together?

    @property
    def model(self) -> nn.Module: ...

    def pixels(self, picture: bytes, where: str) -> np.ndarray:
        """Encoded picture -> (3, H, W) float32. Raises ContractError naming `where` if it cannot be read."""
        ...

    def embed_images(self, pixels: Tensor) -> ImageFeatures:
        """(B, 3, H, W) -> feat (B, D), and embeds (B, N, W) where there is a matching head, else (B, 0)."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> TextFeatures:
        """feat (Q, D); the rest is what `match` needs."""
        ...

    def match(self, texts: TextFeatures, rows: Tensor, image_embeds: Tensor) -> Tensor:
        """Matching score of text rows[i] with picture image_embeds[i]; (K,) float32."""
        ...

    def fuse(self, similarity: Tensor, top: Tensor, scores: Tensor) -> Tensor:
        """(Q, G) final scores from cosines (Q, G), which may be overwritten, and matching scores (Q, k) of the shortlist `top` (Q, k)."""
        ...


class Method(Protocol):
    """A recipe in training. `step` is what the engine runs: (*arguments) -> named scalar loss terms."""

    source: str  # what to tell the user about the weights
    weights: str  # sha256 of the file they came from, "random" without one
    files: tuple[str, ...]  # sha256 of what else it reads beside the data set

    @property
    def searcher(self) -> Searcher: ...

    @property
    def step(self) -> nn.Module: ...

    @property
    def model(self) -> nn.Module:
        """What is saved."""
        ...

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups with params, names, weight_decay, lr, base_lr."""
        ...

    def lr_factor(self, step: int, num_steps: int) -> float: ...

    def term_weights(self) -> Mapping[str, float]: ...

    def batches(self, first_step: int, num_steps: int, rank: int, world: int) -> Iterator[Any]:
        """Of one rank; each has `keys`, the lines that it is made of."""
        ...

    def arguments(self, batch: Any, step: int) -> tuple[Any, ...]:
        """Of the step module, on the device."""
        ...

    def after_step(self) -> None:
        """Averages that follow the weights."""
        ...

    def averaged(self) -> Any:
        """Context in which the model holds the weights that are validated and kept as best."""
        ...

    def save(self, folder: Path, facts: Mapping[str, Any]) -> None:
        """A whole checkpoint folder, metadata last, of the weights as they are."""
        ...

    def save_state(self, folder: Path) -> None:
        """What a continuation needs beside `save` and the optimizer."""
        ...

    def load_state(self, folder: Path) -> None:
        """Weights and averages of a folder that `save` and `save_state` wrote."""
        ...

    def load_weights(self, folder: Path) -> None:
        """Weights of a folder that `save` wrote."""
        ...


def embed(searcher: Searcher, pixels: Tensor, flip: bool = False) -> ImageFeatures:
    """flip: mean of the features of a picture and of its mirror image, normalised again; matching looks at the picture."""
    found = searcher.embed_images(pixels)
    if not flip:
        return found
    return ImageFeatures(found.embeds, F.normalize(found.feat + searcher.embed_images(pixels.flip(-1)).feat, dim=-1))


@torch.no_grad()
def rank(searcher: Searcher, texts: Sequence[str], gallery: Gallery, images: Tensor, shortlist: int, at_once: int) -> Tensor:
    """(Q, G) scores, higher is better: cosines, re-ranked by the matching head on the `shortlist` most similar pictures of each text.

    images: the features (G, D) of the gallery. at_once: texts whose embeddings are held together.
    """
    similarity = images.new_empty(len(texts), len(images))
    width = min(shortlist, len(images)) if searcher.has_matching else 0
    top = torch.zeros(len(texts), width, dtype=torch.int64, device=images.device)
    scores = torch.zeros(top.shape, device=images.device)
    for start in range(0, len(texts), at_once):
        part = slice(start, start + at_once)
        features = searcher.embed_texts(texts[part])
        torch.matmul(features.feat, images.T, out=similarity[part])
        if width:
            top[part] = similarity[part].topk(width, dim=1).indices
            gallery.fill(top[part], scores[part], partial(searcher.match, features))
    return searcher.fuse(similarity, top, scores) if width else similarity
