"""The random choices of a training step, from a generator or replayed from a record."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from pretrain.losses.itm import NegativeWeights


class Draws(Protocol):
    """What the objectives leave to chance. Masks are drawn before the step, by `pretrain.masking`."""

    def negatives(self, weights: NegativeWeights) -> tuple[Tensor, Tensor]:
        """(B,) image drawn as negative of each text, (B,) text drawn as negative of each image."""
        ...

    def prompts(self, num_prompts: int, count: int) -> Tensor:
        """(count,) distinct prompts for IAM, the same on every rank."""
        ...

    def positives(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        """matches (B, P) bool -> (K,) prompts and (K,) an image for each, of those it is true of where there are any."""
        ...


@dataclass(frozen=True, slots=True)
class RandomDraws:
    """Draws from torch generators on the device of the batch; `shared`, by default the same, is in the same state on every rank."""

    generator: torch.Generator
    shared: torch.Generator | None = None

    def negatives(self, weights: NegativeWeights) -> tuple[Tensor, Tensor]:
        return self._pick(weights.image_for_text), self._pick(weights.text_for_image)

    def prompts(self, num_prompts: int, count: int) -> Tensor:
        shared = self.shared or self.generator
        return torch.randperm(num_prompts, generator=shared, device=shared.device)[:count]

    def positives(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        # All prompts, also those that are true of no image: the shape is fixed and nothing waits for the device; MAM leaves them out.
        return torch.arange(matches.shape[1], device=matches.device), self._pick(matches.T.float())

    def _pick(self, weights: Tensor) -> Tensor:
        """One column per row in proportion to its weight; any column where all weights are 0.

        The largest of weight / exponential noise has that distribution. torch.multinomial would wait for the device to check its argument.
        """
        return (weights / torch.empty_like(weights).exponential_(generator=self.generator)).argmax(1)


class RecordedDraws:
    """Replays choices, each list used in order of the calls."""

    def __init__(
        self,
        negatives: Sequence[tuple[Tensor, Tensor]] = (),
        prompts: Sequence[Tensor] = (),
        positives: Sequence[tuple[Tensor, Tensor]] = (),
    ) -> None:
        self._negatives, self._prompts, self._positives = iter(negatives), iter(prompts), iter(positives)

    def negatives(self, weights: NegativeWeights) -> tuple[Tensor, Tensor]:
        return next(self._negatives)

    def prompts(self, num_prompts: int, count: int) -> Tensor:
        return next(self._prompts)

    def positives(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        return next(self._positives)
