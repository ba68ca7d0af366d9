"""IRRA's training step: features of a batch to named terms. Source: IRRA; AC and IRM: the challenge's winners; TAL: RDE."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from finetune.losses.classification import ac_loss, id_loss, masked_token_loss
from finetune.losses.contrastive import confident_pairs, infonce_loss, triplet_alignment_loss
from finetune.losses.matching import SCALE, distributions, inclusion, matching_loss, same_identity
from finetune.methods.pairs import PairBatch
from finetune.models.clip import image_feature, normalised, text_feature
from finetune.models.irra import Irra
from finetune.recipes import IrraObjective
from pretrain.distributed import gather_rows, mean_over_ranks


class IrraStep(nn.Module):
    """(batch, generator) -> terms. One module, so that an engine sees one forward pass. shift (A,): logit adjustment of AC, or None."""

    shift: Tensor | None

    def __init__(self, model: Irra, config: IrraObjective, mask_id: int, precision: str, shift: Tensor | None) -> None:
        super().__init__()
        self.model, self.config, self.mask_id = model, config, mask_id
        self.autocast = precision == "bfloat16"
        self.register_buffer("shift", shift, persistent=False)

    def forward(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
            return self._terms(batch, generator)

    def _terms(self, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        config, towers = self.config, self.model.base_model
        image_tokens = towers.image_tokens(batch.image)
        ids = batch.masked if config.mask_everywhere else batch.ids
        if config.noise_masking:
            ids = self._hidden(ids, image_tokens, generator)
        text_tokens = towers.text_tokens(ids)
        image, text = image_feature(image_tokens), text_feature(text_tokens, ids)
        terms = self._alignment(batch, normalised(image), normalised(text))
        if config.id:
            terms["id"] = id_loss(self.model.classifier(image), self.model.classifier(text), batch.identities)
        if config.ac:
            logits = self.model.attribute_classifier(image), self.model.attribute_classifier(text)
            terms["ac"] = ac_loss(*logits, batch.labels, config.ac_focus, self.shift, mean_over_ranks)
        if config.mlm:
            masked_tokens = text_tokens if config.mask_everywhere and not config.noise_masking else towers.text_tokens(batch.masked)
            fused = self.model.fuse(masked_tokens, image_tokens)
            chosen = batch.targets != 0
            terms["mlm"] = masked_token_loss(self.model.mlm_logits(fused[chosen]), batch.targets[chosen], mean_over_ranks)
        return terms

    def _alignment(self, batch: PairBatch, image: Tensor, text: Tensor) -> dict[str, Tensor]:
        """Terms on the samples of all ranks."""
        config, terms = self.config, {}
        image, text, identities = gather_rows(image), gather_rows(text), gather_rows(batch.identities)
        same = same_identity(identities)
        if config.sdm:
            terms["sdm"] = matching_loss(image, text, distributions(same, config.reading), divergence=config.divergence)
        if config.irm:
            match = self._inclusion(batch, same)
            terms["irm"] = matching_loss(image, text, distributions(match, config.reading), divergence=config.divergence)
        if config.itc:
            terms["itc"] = infonce_loss(image, text)
        if config.tal:
            clean = _consensus(image.detach(), text.detach()) if config.consensus else None
            terms["tal"] = triplet_alignment_loss(image, text, same, config.margin, config.tau, clean)
        return terms

    def _inclusion(self, batch: PairBatch, same: Tensor) -> Tensor:
        """(B, B): who answers whose text. Lines without bits (vehicles) answer those of their own tag."""
        labels, asked = gather_rows(batch.labels), gather_rows(batch.asked)
        rows = labels if self.config.text_bits == "label" else asked
        match = inclusion(rows, self.config.equal_bits, labels)
        stated = (labels >= 0).all(1)
        people = stated[:, None] & stated[None]
        return torch.where(people, match, same)

    @torch.no_grad()
    def _hidden(self, ids: Tensor, image_tokens: Tensor, generator: torch.Generator) -> Tensor:
        """ids with `noise_masking` of the ordinary tokens masked; chances grow as a token's best cosine with a patch falls.

        Noise-aware masking of MLLM4Text-ReID and GA-DMS in its simplest form: similarities are those of this very step.
        """
        words = normalised(self.model.base_model.text_tokens(ids).float())
        best = (words @ normalised(image_tokens[:, 1:].float()).transpose(1, 2)).amax(2)
        ordinary = (ids > 0) & (ids < self.mask_id)
        doubt = (1 - best) * ordinary
        mean = doubt.sum(1, keepdim=True) / ordinary.sum(1, keepdim=True).clamp(min=1)
        chance = (self.config.noise_masking * doubt / mean.clamp(min=1e-6)).clamp(max=1)
        drawn = torch.rand(ids.shape, generator=generator, device=ids.device)
        return torch.where(ordinary & (drawn < chance), self.mask_id, ids)


def _consensus(image: Tensor, text: Tensor) -> Tensor:
    """(B,) 0/1 of the pairs whose own losses, both directions, a mixture holds for clean; all of them if it holds none."""
    logits = SCALE * text @ image.T
    losses = (torch.diagonal(-logits.log_softmax(1)) + torch.diagonal(-logits.log_softmax(0))) / 2
    clean = confident_pairs(losses)
    return clean if bool(clean.any()) else torch.ones_like(clean)


def term_weights(config: IrraObjective) -> Mapping[str, float]:
    """Of the terms that have one."""
    names = ("sdm", "irm", "mlm", "id", "ac", "itc", "tal")
    return {name: getattr(config, name) for name in names if getattr(config, name)}
