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

    def start(self, step: int) -> RandomDraws:
        """Seed dropout and DropPath (torch's global generator) and return the draws of the objectives."""
        torch.manual_seed(derive_seed(self.seed, "dropout", step, self.rank))
        return RandomDraws(torch.Generator(self.device).manual_seed(derive_seed(self.seed, "draws", step, self.rank)))

    def masked(self, masker: Masker, texts: Texts, step: int, name: str) -> Texts:
        """`texts` with their masks of this step, drawn where the texts are; `name` tells several texts of a step apart."""
        generator = torch.Generator(texts.ids.device).manual_seed(derive_seed(self.seed, "mask", name, step, self.rank))
        masked: Masked = masker.batch(texts.ids, texts.mask, generator)
        return Texts(texts.ids, texts.mask, masked)
