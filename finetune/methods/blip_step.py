"""BLIP's training step, with classes in place of picture numbers: FITC and FITM. Source: BLIP; the challenge's winners."""

import torch
from torch import Tensor, nn

from finetune.methods.pairs import PairBatch
from finetune.models.blip import BlipRetrieval, Features, Matched, fitc_term, fitm_weights, numbered_over_ranks
from finetune.recipes import BlipObjective
from pretrain.distributed import mean_over_ranks
from pretrain.draws import Draws
from pretrain.losses.itm import itm_loss, matching_pairs


class BlipStep(nn.Module):
    """(batch, alpha, draws) -> {"fitc", "fitm"}; moves the momentum copies and the queues on the way, in the published order."""

    def __init__(self, model: BlipRetrieval, config: BlipObjective, encode_id: int, precision: str) -> None:
        super().__init__()
        self.model, self.config, self.encode_id = model, config, encode_id
        self.autocast = precision == "bfloat16"

    def forward(self, batch: PairBatch, alpha: float, draws: Draws) -> dict[str, Tensor]:
        model, classes = self.model, batch.identities
        model.clamp_temperature()
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
            tokens, image = model.encode_image(batch.image)
            text = model.encode_text(batch.ids, batch.masked)
            model.update_momentum(self.config.momentum)
            features = Features(image, text, *model.momentum_features(batch.image, batch.ids, batch.masked))
        terms = {}
        if self.config.itc:
            terms["fitc"] = fitc_term(features, model.queue, classes, model.temp, alpha)
        model.queue.enqueue(features.image_momentum, features.text_momentum, classes)
        if self.config.itm:
            weights = fitm_weights(features, classes, model.temp)
            pairs = numbered_over_ranks(matching_pairs(weights, *draws.negatives(weights)))
            with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
                every = Matched.of_all_ranks(tokens, batch.ids, batch.masked)
                ids, mask = every.ids[pairs.text_index], every.mask[pairs.text_index]
                logits = model.match_logits(ids, mask, every.tokens[pairs.image_index], self.encode_id)
            terms["fitm"] = itm_loss(logits.float(), pairs.targets, mean_over_ranks)
        return terms
