"""CLIP's training step: InfoNCE over the samples of all ranks with a learned temperature."""

from math import log

import torch
from torch import Tensor, nn

from finetune.losses.contrastive import infonce_loss
from finetune.methods.pairs import PairBatch
from finetune.models.clip import Clip, image_feature, normalised, text_feature
from finetune.models.clip_settings import ClipConfig
from pretrain.distributed import gather_rows

LARGEST_SCALE = 100.0
START_SCALE = 1 / 0.07


class ClipModel(nn.Module):
    """Towers and `logit_scale` (1,), the logarithm of the factor of the cosines."""

    def __init__(self, config: ClipConfig) -> None:
        super().__init__()
        self.config = config
        self.base_model = Clip(config)
        self.logit_scale = nn.Parameter(torch.tensor([START_SCALE]).log())


class ClipStep(nn.Module):
    """batch -> {"itc"}."""

    def __init__(self, model: ClipModel, precision: str) -> None:
        super().__init__()
        self.model = model
        self.autocast = precision == "bfloat16"

    def forward(self, batch: PairBatch) -> dict[str, Tensor]:
        towers = self.model.base_model
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
            image = normalised(image_feature(towers.image_tokens(batch.image)))
            text = normalised(text_feature(towers.text_tokens(batch.ids), batch.ids))
            return {"itc": infonce_loss(gather_rows(image), gather_rows(text), held_scale(self.model.logit_scale))}


def held_scale(logit_scale: Tensor) -> Tensor:
    """exp(logit_scale), LARGEST_SCALE at most; the gradient is that of exp beyond it too, where published weights begin.

    open_clip clamps the parameter itself after each step; an optimizer that keeps copies of its own (ZeRO) would not see that.
    """
    beyond = (logit_scale - log(LARGEST_SCALE)).clamp(min=0).detach()
    return (logit_scale - beyond).exp()
