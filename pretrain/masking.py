"""Which tokens are hidden for MLM and MAM, and what stands in their place.

Source: the masking generator of X-VLM and APTM. Here a whole batch is drawn at once on its own device, from the same distribution.
One departure, the default: padding is no candidate. The published code masks padding and learns to predict it (`padded`).
"""

import math
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class _Words:
    """Where words begin and end, (B, L) each: start[b, p] of the word of place p, 0 if that is [CLS]; end[b, p], the first place not
    before p where a word begins, at most the length of the text.
    """

    start: Tensor
    end: Tensor


class Masker:
    """Draws masks for batches of tokenised texts."""

    def __init__(self, tokenizer: CaptionTokenizer, config: MaskingConfig) -> None:
        self.config = config
        self.mask_id, self.vocab_size = tokenizer.mask_id, len(tokenizer)
        self.continuations, self.special = tokenizer.continuation_ids, tokenizer.special_ids
        kinds = torch.zeros(2, self.vocab_size, dtype=torch.bool)
        kinds[0, list(self.continuations)] = True
        kinds[1, list(self.special)] = True
        self._kinds = {torch.device("cpu"): kinds}  # (continuation, special) x V, on each device that asked

    def batch(self, ids: Tensor, mask: Tensor, generator: torch.Generator) -> Masked:
        """ids, mask (B, L) int64 and a generator, all on one device; nothing waits for it."""
        device, kinds = ids.device, self._on(ids.device)
        lengths = (mask.sum(1) if self.config.mlm_candidates == "tokens" else torch.full_like(mask[:, 0], mask.shape[1]))[:, None]
        wanted = (self.config.probability * lengths).round().clamp(1, self.config.max_masks).long()
        chosen = self._spans(kinds[0][ids], lengths, wanted, generator)
        if self.config.mlm_candidates == "tokens":
            chosen &= ~kinds[1][ids]
        keys = torch.rand(ids.shape, device=device, generator=generator).masked_fill(~chosen, -1.0)
        slots = min(self.config.max_masks, ids.shape[1])
        best, positions = keys.topk(slots, dim=1)  # the chosen ones first
        used = (best >= 0) & (torch.arange(slots, device=device) < wanted)
        positions = positions.masked_fill(~used, 0)
        old = ids.gather(1, positions)
        masked_ids = ids.scatter(1, positions, torch.where(used, self._replaced(old, generator), old))
        kept = slice(self.slots(ids.shape[1]))
        return Masked(masked_ids, positions[:, kept], old.masked_fill(~used, IGNORED)[:, kept])

    def slots(self, length: int) -> int:
        """M of texts padded to `length`: no text of them can have more pieces hidden. The host knows it, so nothing waits."""
        return min(self.config.max_masks, length, max(1, math.ceil(self.config.probability * length)))

    def _spans(self, continues: Tensor, lengths: Tensor, wanted: Tensor, generator: torch.Generator) -> Tensor:
        """continues (B, L) bool; lengths, wanted (B, 1) -> (B, L) bool: spans of whole words at random places, until enough are chosen.

        Each round adds a place at least, so max_masks rounds are enough.
        """
        batch, length = continues.shape
        device, words = continues.device, _words(continues, lengths)
        places = torch.arange(length, device=device)
        free = (words.start > 0) & (places < lengths)
        order = torch.rand(batch, length, device=device, generator=generator)
        chosen = torch.zeros_like(free)
        for _ in range(self.config.max_masks):
            position = order.masked_fill(~free | chosen, -1.0).argmax(1, keepdim=True)
            active = (chosen.sum(1, keepdim=True) < wanted) & (free & ~chosen).any(1, keepdim=True)
            last = (position + self._span_lengths(batch, device, generator) - 1).minimum(lengths - 1)
            end = torch.where(last + 1 < lengths, words.end.gather(1, (last + 1).clamp(max=length - 1)), lengths)
            chosen |= active & (places >= words.start.gather(1, position)) & (places < end)
        return chosen

    def _span_lengths(self, batch: int, device: torch.device, generator: torch.Generator) -> Tensor:
        """(B, 1) int64: 1, or now and then 2 to skipgram_size."""
        largest = self.config.skipgram_size
        if largest < 2:
            return torch.ones(batch, 1, dtype=torch.int64, device=device)
        is_long = torch.rand(batch, 1, device=device, generator=generator) < self.config.skipgram_probability
        return torch.where(is_long, torch.randint(2, largest + 1, (batch, 1), device=device, generator=generator), 1)

    def _replaced(self, old: Tensor, generator: torch.Generator) -> Tensor:
        """80 % [MASK], 10 % a random piece, 10 % as it was."""
        chance = torch.rand(old.shape, device=old.device, generator=generator)
        piece = torch.randint(self.vocab_size, old.shape, device=old.device, generator=generator)
        return torch.where(chance < 0.8, self.mask_id, torch.where(chance < 0.9, piece, old))

    def _on(self, device: torch.device) -> Tensor:
        if device not in self._kinds:
            self._kinds[device] = self._kinds[torch.device("cpu")].to(device)
        return self._kinds[device]


def _words(continues: Tensor, lengths: Tensor) -> _Words:
    """continues (B, L) bool, true where a piece belongs to the word before it; lengths (B, 1)."""
    places = torch.arange(continues.shape[1], device=continues.device).expand(continues.shape)
    start = places.masked_fill(continues, 0).cummax(1).values
    end = torch.where(continues, lengths, places).flip(1).cummin(1).values.flip(1).minimum(lengths)
    return _Words(start, end)
