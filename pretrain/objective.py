"""From a batch to named loss terms and their weighted total. The only place with weights.

Images are encoded once and shared by all objectives, prompts once per step and shared by all images.
Legend: B local batch, P = 2A prompts of A attributes, L tokens, N image tokens, D shared width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.distributed import gather_rows
from pretrain.draws import Draws
from pretrain.losses.iac import iac_loss
from pretrain.losses.iam import iam_loss, matching_targets
from pretrain.losses.itc import itc_loss
from pretrain.losses.itm import itm_loss, matching_pairs, negative_weights
from pretrain.losses.mam import mam_loss, positive_matches
from pretrain.losses.mlm import mlm_loss
from pretrain.masking import Masked
from pretrain.models.aptm import APTM
from pretrain.settings import ObjectiveConfig

SECOND_VIEW_WEIGHT = 0.8
FINETUNE_WEIGHTS = {"itc": 1.0, "itc_second": SECOND_VIEW_WEIGHT, "itm": 1.0, "itm_second": SECOND_VIEW_WEIGHT, "mlm": 1.0}


@dataclass(frozen=True, slots=True)
class Texts:
    """Tokenised texts (B, L) or prompts (P, L), and their masked copy where MLM or MAM wants one."""

    ids: Tensor
    mask: Tensor
    masked: Masked | None = None

    def to(self, device: torch.device) -> "Texts":
        return Texts(self.ids.to(device), self.mask.to(device), self.masked and self.masked.to(device))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Features of B pictures or texts: tokens (B, N or L, width) and feat (B, D), L2-normalised."""

    tokens: Tensor
    feat: Tensor


def encode_images(model: APTM, image: Tensor) -> Encoded:
    tokens, feat = model.encode_image(image)
    return Encoded(tokens, F.normalize(feat.float(), dim=-1))


def encode_texts(model: APTM, texts: Texts) -> Encoded:
    tokens, feat = model.encode_text(texts.ids, texts.mask)
    return Encoded(tokens, F.normalize(feat.float(), dim=-1))


def itc_term(model: APTM, image: Encoded, text: Encoded, identities: Tensor | None) -> Tensor:
    """ITC over the samples of all ranks. identities (B,) int64, equal for the same person; None: only the own text matches."""
    everyone = None if identities is None else gather_rows(identities)
    return itc_loss(gather_rows(image.feat), gather_rows(text.feat), model.temp, everyone)


def itm_term(model: APTM, image: Encoded, texts: Texts, text: Encoded, identities: Tensor, draws: Draws) -> Tensor:
    """ITM with hard negatives of the local batch."""
    weights = negative_weights(image.feat, text.feat, model.temp, identities)
    pairs = matching_pairs(weights, *draws.negatives(weights))
    chosen = pairs.text_index
    return itm_loss(model.match(text.tokens[chosen], texts.mask[chosen], image.tokens[pairs.image_index]), pairs.targets)


def mlm_term(model: APTM, image: Encoded, texts: Texts) -> Tensor:
    assert texts.masked is not None, "MLM needs masked texts"
    masked = texts.masked
    return mlm_loss(model.mlm_logits(masked.ids, texts.mask, image.tokens, masked.positions), masked.targets)


def attribute_terms(
    model: APTM, image: Encoded, labels: Tensor, prompts: Texts, draws: Draws, config: ObjectiveConfig
) -> dict[str, Tensor]:
    """IAC, IAM and MAM. labels (B, A) in {0, 1, -1}; prompts: all P = 2A prompts with masks."""
    encoded = encode_texts(model, prompts)
    return {
        "iac": iac_loss(image.feat, encoded.feat, model.temp, labels, config.label_smoothing),
        "iam": _iam_term(model, image, labels, prompts, encoded, draws, config),
        "mam": _mam_term(model, image, labels, prompts, draws),
    }


def pretrain_terms(
    model: APTM, image: Tensor, texts: Texts, identities: Tensor, labels: Tensor, prompts: Texts, draws: Draws, config: ObjectiveConfig
) -> dict[str, Tensor]:
    """image (B, 3, H, W), identities (B,), labels (B, A) -> the six terms itc, itm, mlm, iac, iam, mam; scalars."""
    pictures, text = encode_images(model, image), encode_texts(model, texts)
    return {
        "itc": itc_term(model, pictures, text, identities),
        "itm": itm_term(model, pictures, texts, text, identities, draws),
        "mlm": mlm_term(model, pictures, texts),
        **attribute_terms(model, pictures, labels, prompts, draws, config),
    }


def finetune_terms(model: APTM, image: Tensor, texts: Texts, second: Texts, identities: Tensor, draws: Draws) -> dict[str, Tensor]:
    """Two views of each caption: ITC and ITM on both, MLM on the first. Source: research code, fine-tuning on CUHK-PEDES and others."""
    pictures = encode_images(model, image)
    text, other = encode_texts(model, texts), encode_texts(model, second)
    return {
        "itc": itc_term(model, pictures, text, identities),
        "itc_second": itc_term(model, pictures, other, identities),
        "itm": itm_term(model, pictures, texts, text, identities, draws),
        "itm_second": itm_term(model, pictures, second, other, identities, draws),
        "mlm": mlm_term(model, pictures, texts),
    }


def pretrain_weights(config: ObjectiveConfig) -> dict[str, float]:
    share = config.attribute_weight / 3
    return {"itc": 1.0, "itm": 1.0, "mlm": 1.0, "iac": share, "iam": share, "mam": share}


def weighted_total(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Scalar to minimise. Every term needs a weight."""
    return torch.stack([weights[name] * value for name, value in terms.items()]).sum()


def _iam_term(
    model: APTM, image: Encoded, labels: Tensor, prompts: Texts, encoded: Encoded, draws: Draws, config: ObjectiveConfig
) -> Tensor:
    drawn = draws.prompts(len(prompts.ids), config.num_matching_prompts)
    count, batch = len(drawn), len(image.tokens)
    every_prompt = drawn.repeat_interleave(batch)
    logits = model.match(encoded.tokens[every_prompt], prompts.mask[every_prompt], image.tokens.repeat(count, 1, 1))
    return iam_loss(logits.view(count, batch, 2), matching_targets(labels, drawn), config.label_smoothing)


def _mam_term(model: APTM, image: Encoded, labels: Tensor, prompts: Texts, draws: Draws) -> Tensor:
    assert prompts.masked is not None, "MAM needs masked prompts"
    matches = positive_matches(labels)
    drawn, images = draws.positives(matches)
    masked = prompts.masked[drawn]
    logits = model.mlm_logits(masked.ids, prompts.mask[drawn], image.tokens[images], masked.positions)
    return mam_loss(logits, masked.targets, matches[images, drawn])
