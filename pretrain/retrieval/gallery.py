"""Pictures and texts of an evaluation to features, and match logits of shortlists, within a stated memory.

Token embeddings are large: at full size 0.2 MB a picture and as much a text, 20 GB for 100,000. Features (1 KB) are always held.
Embeddings of pictures are held while they fit, else computed again; those of texts are computed for as many texts at a time as fit.
Pictures go through the model in tiles, always the same ones, so that the number of ranks changes no number.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from pretrain.distributed import rank, sum_over_ranks, world_size
from pretrain.models.aptm import APTM
from pretrain.retrieval.encode import ImageFeatures, TextFeatures, encode_ids

TEXT_BATCH = 256
PAIRS = 512  # that the matching head looks at together


class Gallery:
    """Pictures in tiles, of which each rank has its own, or the one that is alone in ranking all of them."""

    def __init__(self, encode: Callable[[range], ImageFeatures], size: int, tile: int, memory: int, shared: bool = True) -> None:
        """encode: features of a range of pictures. memory: bytes that embeddings of pictures may take. shared: all ranks take part."""
        self.size = size
        self._encode, self._room, self._shared = encode, memory, shared
        self.tiles = [range(start, min(start + tile, size)) for start in range(0, size, tile)]
        self._kept: dict[range, ImageFeatures] = {}

    def own_tiles(self) -> Iterator[range]:
        yield from self.tiles[rank() :: world_size()] if self._shared else self.tiles

    def encoded(self, tile: range) -> ImageFeatures:
        """From memory where it was kept."""
        if tile in self._kept:
            return self._kept[tile]
        features = self._encode(tile)
        size = features.embeds.nbytes
        if size <= self._room:
            self._room -= size
            self._kept[tile] = features
        return features

    def features(self, look: Callable[[range, ImageFeatures], None] | None = None) -> Tensor:
        """(G, D) of all pictures, on every rank; look(tile, features) is called for each tile of this rank."""
        found: Tensor | None = None
        for tile in self.own_tiles():
            encoded = self.encoded(tile)
            if found is None:
                found = encoded.feat.new_zeros(self.size, encoded.feat.shape[1])
            found[tile.start : tile.stop] = encoded.feat
            if look:
                look(tile, encoded)
        if found is None:  # more ranks than tiles
            one = self.encoded(self.tiles[0]).feat
            found = one.new_zeros(self.size, one.shape[1])
        return sum_over_ranks(found) if self._shared else found

    def fill(self, top: Tensor, scores: Tensor, match: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Write into scores (Q, K) what match(rows, embeds) says of the pairs whose pictures this rank holds, tile by tile.

        top (Q, K): places of the pictures; rows (P,): which text; embeds (P, N, W) of the picture beside it, PAIRS at a time.
        """
        flat = top.flatten()
        order = flat.argsort(stable=True)
        wanted = flat[order]
        for tile in self.own_tiles():
            edges = torch.tensor([tile.start, tile.stop], device=wanted.device)
            start, stop = torch.searchsorted(wanted, edges).tolist()
            if start < stop:
                embeds = self.encoded(tile).embeds
                for pairs in order[start:stop].split(PAIRS):
                    scores.view(-1)[pairs] = match(pairs // top.shape[1], embeds[flat[pairs] - tile.start])


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
        part = slice(start, start + chunk)
        gallery.fill(top[part], logits[part], partial(_match, model, texts))
    return sum_over_ranks(logits)


def _match(model: APTM, texts: TextFeatures, rows: Tensor, embeds: Tensor) -> Tensor:
    return model.match(texts.embeds[rows], texts.mask[rows], embeds)[:, 1].float()
