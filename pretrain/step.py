"""One training step as a module, so that DeepSpeed and DistributedDataParallel see a single forward pass."""

import torch
from torch import Tensor, nn

from pretrain.data import Batch
from pretrain.draws import Draws
from pretrain.losses.itc import Pairs
from pretrain.models.aptm import APTM
from pretrain.objective import Texts, pretrain_terms
from pretrain.settings import ObjectiveConfig


class PretrainStep(nn.Module):
    """batch, prompts, draws -> the six named loss terms."""

    def __init__(self, model: APTM, config: ObjectiveConfig, precision: str) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.autocast = precision == "bfloat16"
        self.earlier: list[Pairs] = []  # detached features of the parts of this step that are done

    def begin(self) -> None:
        """A new step: forget the features of the last one."""
        self.earlier.clear()

    def forward(self, batch: Batch, prompts: Texts, draws: Draws) -> dict[str, Tensor]:
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
            return pretrain_terms(
                self.model, batch.image, batch.texts, batch.identities, batch.labels, prompts, draws, self.config, self.earlier
            )
