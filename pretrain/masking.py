"""Which tokens are hidden for MLM and MAM, and what stands in their place.

Source: the masking generator of X-VLM and APTM, in its order of random calls, so that a seeded `random.Random` repeats the published
masks. One departure, the default: padding is no candidate. The published code masks padding and learns to predict it (`padded`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from pretrain.settings import MaskingConfig
from pretrain.tokenizer import CaptionTokenizer

IGNORED = -100  # target of an unused slot


@dataclass(frozen=True, slots=True)
class Masked:
    """ids (B, L) after masking; positions, targets (B, M) int64, unused slots with position 0 and target -100."""

    ids: Tensor
    positions: Tensor
    targets: Tensor

    def __getitem__(self, rows: Tensor) -> "Masked":
        return Masked(self.ids[rows], self.positions[rows], self.targets[rows])

    def to(self, device: torch.device) -> "Masked":
        return Masked(self.ids.to(device), self.positions.to(device), self.targets.to(device))


class Masker:
    """Draws masks for batches of tokenised texts."""

    def __init__(self, tokenizer: CaptionTokenizer, config: MaskingConfig) -> None:
        self.config = config
        self.mask_id, self.vocab_size = tokenizer.mask_id, len(tokenizer)
        self.continuations, self.special = tokenizer.continuation_ids, tokenizer.special_ids

    def batch(self, ids: Tensor, mask: Tensor, generator: torch.Generator) -> Masked:
        """ids, mask (B, L) int64 on the CPU. One number from `generator` seeds all draws of the batch."""
        rng = Random(int(torch.randint(2**62, (), generator=generator)))
        masked_ids = ids.clone()
        positions = torch.zeros(ids.shape[0], self.config.max_masks, dtype=torch.int64)
        targets = torch.full_like(positions, IGNORED)
        lengths = mask.sum(1).tolist()
        for row, (tokens, length) in enumerate(zip(ids.tolist(), lengths, strict=True)):
            new, places = self.one(tokens if self.config.mlm_candidates == "padded" else tokens[:length], rng)
            if not places:
                continue
            masked_ids[row, : len(new)] = torch.tensor(new)
            positions[row, : len(places)] = torch.tensor(places)
            targets[row, : len(places)] = ids[row, places]
        return Masked(masked_ids, positions, targets)

    def one(self, tokens: Sequence[int], rng: Random) -> tuple[list[int], list[int]]:
        """One text, [CLS] first -> (ids after masking, positions). Every position after [CLS] that is given may be hidden.

        With mlm_candidates="tokens", special tokens never are; a text of nothing else comes back unchanged, without positions.
        """
        wanted = min(self.config.max_masks, max(1, round(self.config.probability * len(tokens))))
        candidates = list(range(1, len(tokens)))
        rng.shuffle(candidates)
        chosen: set[int] = set()
        for position in candidates:
            if len(chosen) >= wanted:
                break
            if position not in chosen:
                chosen.update(self._span(tokens, position, rng))
        places = list(chosen)
        if self.config.mlm_candidates == "tokens":
            places = [p for p in places if tokens[p] not in self.special]
        if len(places) > wanted:
            rng.shuffle(places)
            places = places[:wanted]
        return self._hide(tokens, places, rng), places

    def _span(self, tokens: Sequence[int], position: int, rng: Random) -> range:
        """The pieces that are hidden together with `position`: a span of pieces now and then, always whole words."""
        length = 1
        if self.config.skipgram_size >= 2 and rng.random() < self.config.skipgram_probability:
            length = rng.randint(2, self.config.skipgram_size)
        start, end = position, position + length
        while start > 0 and tokens[start] in self.continuations:
            start -= 1
        while end < len(tokens) and tokens[end] in self.continuations:
            end += 1
        return range(start, min(end, len(tokens))) if start > 0 else range(0)

    def _hide(self, tokens: Sequence[int], places: Sequence[int], rng: Random) -> list[int]:
        """80 % [MASK], 10 % a random piece, 10 % as it was."""
        new = list(tokens)
        for place in places:
            if rng.random() < 0.8:
                new[place] = self.mask_id
            elif rng.random() < 0.5:
                new[place] = rng.randint(0, self.vocab_size - 1)
        return new
