"""The fine-tuning objective: two views of each caption, and, if wanted, the data set's attributes as prompts.

Source: APTM's fine-tuning on CUHK-PEDES and others (`pretrain.parity.losses.finetune_terms`), with its attribute terms beside it.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from finetune.config import FinetuneObjective
from finetune.data import Batch
from pretrain.draws import Draws
from pretrain.models.aptm import APTM
from pretrain.models.settings import AptmConfig
from pretrain.objective import (
    Pictures,
    Texts,
    attribute_terms,
    encode_images,
    encode_texts,
    encode_with_masked,
    itc_term,
    itm_term,
    matching_terms,
    mlm_term,
)
from pretrain.settings import ObjectiveConfig

ATTRIBUTE_TERMS = ("iac", "iam", "mam")


class FinetuneStep(nn.Module):
    """batch, prompts (None: no attribute terms), draws -> named loss terms. One module, so that an engine sees one forward pass."""

    def __init__(self, model: APTM, config: FinetuneObjective, precision: str) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.autocast = precision == "bfloat16"

    def forward(self, batch: Batch, prompts: Texts | None, draws: Draws) -> dict[str, Tensor]:
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
            return step_terms(self.model, batch, prompts, draws, self.config)


def step_terms(model: APTM, batch: Batch, prompts: Texts | None, draws: Draws, config: FinetuneObjective) -> dict[str, Tensor]:
    """The terms that have weight: ITC and ITM on each view, MLM on the first, and IAC, IAM, MAM on the prompts. Scalars.

    Pictures are encoded once. Vehicles have no bits (their labels are all -1), so they leave the attribute terms at 0, which is not logged.
    Where attributes have weight, what `pretrain.objective.judged` counts of IAM is among the scalars.
    """
    image = encode_images(model, batch.image)
    terms = _first_view_terms(model, image, batch, draws, config)
    if batch.second is not None and (config.itc_weight or config.itm_weight):
        second = encode_texts(model, batch.second)
        if config.itc_weight:
            terms["itc_second"] = itc_term(model, image, second, batch.identities)
        if config.itm_weight:
            terms["itm_second"] = itm_term(model, image, batch.second, second, batch.identities, draws)
    if prompts is not None:
        shared = ObjectiveConfig(label_smoothing=config.label_smoothing, num_matching_prompts=config.num_matching_prompts)
        terms |= attribute_terms(model, image, batch.labels, prompts, draws, shared)
    return terms


def _first_view_terms(model: APTM, image: Pictures, batch: Batch, draws: Draws, config: FinetuneObjective) -> dict[str, Tensor]:
    """ITM and MLM share a pass of the text encoder and one of the cross encoder where both are wanted."""
    terms, texts, ids = {}, batch.texts, batch.identities
    together = bool(config.itm_weight and config.mlm_weight)
    if config.itc_weight or config.itm_weight:
        text = (encode_with_masked if together else encode_texts)(model, texts)
        if config.itc_weight:
            terms["itc"] = itc_term(model, image, text, ids)
        if together:
            found = matching_terms(model, image, texts, text, ids, draws)
            terms |= {name: found[name] for name in ("itm", "mlm")}
        elif config.itm_weight:
            terms["itm"] = itm_term(model, image, texts, text, ids, draws)
    if config.mlm_weight and not together:
        terms["mlm"] = mlm_term(model, image, texts)
    return terms


def unused_in(config: FinetuneObjective, model: AptmConfig) -> Callable[[str], bool]:
    """Of a parameter's name: does no term that has weight reach it?"""
    text = model.text
    crossing = tuple(f"text_encoder.bert.encoder.layer.{number}." for number in range(text.fusion_layer, text.num_layers))
    parts = {
        ("vision_proj.", "text_proj.", "temp"): config.itc_weight,
        ("itm_head.",): config.itm_weight,
        ("text_encoder.cls.",): config.mlm_weight,
        crossing: config.itm_weight or config.mlm_weight,
    }
    unused = tuple(prefix for prefixes, weight in parts.items() for prefix in prefixes if not weight and not config.attribute_weight)
    return lambda name: name.startswith(unused)


def term_weights(config: FinetuneObjective) -> dict[str, float]:
    """Weights of `weighted_total`, for the terms that are computed."""
    plain = {"itc": config.itc_weight, "itm": config.itm_weight}
    second = {f"{name}_second": config.second_view * weight for name, weight in plain.items()}
    attributes = dict.fromkeys(ATTRIBUTE_TERMS, config.attribute_weight / len(ATTRIBUTE_TERMS))
    every = {**plain, **second, "mlm": config.mlm_weight, **attributes}
    return {name: weight for name, weight in every.items() if weight}
