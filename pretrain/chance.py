"""The random numbers of a step: a function of (seed, step, rank), so a continued training draws what the first would have drawn."""

from dataclasses import dataclass

import torch

from pipeline.seeds import derive_seed
from pretrain.draws import RandomDraws
from pretrain.masking import Masked, Masker
from pretrain.objective import Texts


@dataclass(frozen=True, slots=True)
class Chance:
    """The chances of one rank; `start` opens each step."""

    seed: int
    rank: int
    device: torch.device

    def start(self, step: int, part: int = 0) -> RandomDraws:
        """Seed dropout and DropPath (torch's global generator) and return the draws of the objectives. part: of a step in several parts."""
        more = (part,) if part else ()
        torch.manual_seed(derive_seed(self.seed, "dropout", step, self.rank, *more))
        return RandomDraws(self._generator("draws", step, self.rank, *more), self._generator("prompts", step, *more))

    def _generator(self, *of: str | int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(derive_seed(self.seed, *of))

    def masked(self, masker: Masker, texts: Texts, step: int, name: str) -> Texts:
        """`texts` with their masks of this step, drawn where the texts are; `name` tells several texts of a step apart."""
        generator = torch.Generator(texts.ids.device).manual_seed(derive_seed(self.seed, "mask", name, step, self.rank))
        masked: Masked = masker.batch(texts.ids, texts.mask, generator)
        return Texts(texts.ids, texts.mask, masked)
