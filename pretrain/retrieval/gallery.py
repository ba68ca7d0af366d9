"""Pictures and texts of an evaluation to features, and match logits of shortlists, within a stated memory.

Token embeddings are large: at full size 0.2 MB a picture and as much a text, 20 GB for 100,000. Features (1 KB) are always held.
Embeddings of pictures are held while they fit, else computed again; those of texts are computed for as many texts at a time as fit.
Pictures go through the model in tiles, always the same ones, so that the number of ranks changes no number.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from pretrain.distributed import rank, sum_over_ranks, world_size
from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import ImageFeatures, TextFeatures, encode_ids, encode_images
from pretrain.retrieval.rerank import match_scores

TEXT_BATCH = 256


class Gallery:
    """The tiles of pictures that belong to this rank."""

    def __init__(self, model: APTM, size: int, tile: int, pixels: Callable[[range], Tensor], memory: int) -> None:
        """pixels: (B, 3, H, W) of a range of pictures. memory: bytes that embeddings of pictures may take."""
        self.size = size
        self._model, self._pixels, self._room = model, pixels, memory
        self.tiles = [range(start, min(start + tile, size)) for start in range(0, size, tile)]
        self._kept: dict[range, ImageFeatures] = {}

    def own_tiles(self) -> Iterator[range]:
        yield from self.tiles[rank() :: world_size()]

    def encoded(self, tile: range) -> ImageFeatures:
        """From memory where it was kept."""
        if tile in self._kept:
            return self._kept[tile]
        features = encode_images(self._model, [self._pixels(tile)])
        size = features.embeds.nbytes
        if size <= self._room:
            self._room -= size
            self._kept[tile] = features
        return features

    def features(self, look: Callable[[range, ImageFeatures], None]) -> Tensor:
        """(G, D) of all pictures, on every rank; look(tile, features) is called for each tile of this rank."""
        found: Tensor | None = None
        for tile in self.own_tiles():
            encoded = self.encoded(tile)
            if found is None:
                found = encoded.feat.new_zeros(self.size, encoded.feat.shape[1])
            found[tile.start : tile.stop] = encoded.feat
            look(tile, encoded)
        if found is None:  # more ranks than tiles
            found = torch.zeros(self.size, self._model.config.embed_dim, device=self._model.temp.device)
        return sum_over_ranks(found)


@torch.no_grad()
def text_features(model: APTM, ids: Tensor, mask: Tensor) -> Tensor:
    """(Q, D), embeddings forgotten at once."""
    parts = zip(ids.split(TEXT_BATCH), mask.split(TEXT_BATCH), strict=True)
    return torch.cat([encode_ids(model, i, m, TEXT_BATCH).feat for i, m in parts])


@torch.no_grad()
def shortlist_logits(model: APTM, ids: Tensor, mask: Tensor, gallery: Gallery, top: Tensor, memory: int) -> Tensor:
    """(Q, K) match logits of texts (Q, L) with the pictures of their shortlists. memory: bytes that embeddings of texts may take."""
    logits = torch.zeros(top.shape, device=top.device)
    one = 4 * mask.shape[1] * model.config.text.hidden_size
    chunk = max(TEXT_BATCH, memory // one // TEXT_BATCH * TEXT_BATCH)
    for start in range(0, len(ids), chunk):
        texts = encode_ids(model, ids[start : start + chunk], mask[start : start + chunk], TEXT_BATCH)
        _fill(model, texts, gallery, top[start : start + chunk], logits[start : start + chunk])
    return sum_over_ranks(logits)


def _fill(model: APTM, texts: TextFeatures, gallery: Gallery, top: Tensor, logits: Tensor) -> None:
    """Write the logits of the pairs whose pictures this rank holds, tile by tile."""
    flat = top.flatten()
    order = flat.argsort(stable=True)
    wanted = flat[order]
    for tile in gallery.own_tiles():
        edges = torch.tensor([tile.start, tile.stop], device=wanted.device)
        start, stop = torch.searchsorted(wanted, edges).tolist()
        if start < stop:
            pairs = order[start:stop]
            rows, columns = pairs // top.shape[1], flat[pairs] - tile.start
            logits.view(-1)[pairs] = match_scores(model, texts, gallery.encoded(tile), rows, columns)
