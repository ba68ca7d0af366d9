"""BLIP for retrieval: transformers' BLIP towers, their momentum copies, and queues of past features.

Names are those of transformers' `BlipForImageTextRetrieval`, so its folders load as they are; `_m` marks momentum copies, which are saved
too, because a training that continues needs them.
Source: Li et al., ICML 2022, retrieval fine-tuning; classes in place of picture numbers: the challenge's winners.
"""

import copy
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from finetune.losses.fine_grained import negative_weights, soft_contrastive_loss, soft_targets
from pretrain.distributed import gather_rows, largest, rank
from pretrain.losses.itm import NegativeWeights, Pairs

EMPTY = -100  # class of a queue slot that was never filled
TEMPERATURE_RANGE = (0.001, 0.5)
START_TEMPERATURE = 0.07


@dataclass(frozen=True, slots=True)
class Features:
    """L2-normalised features of a batch, (B, D) each: online ones carry gradient, momentum ones do not."""

    image: Tensor
    text: Tensor
    image_momentum: Tensor
    text_momentum: Tensor


class FeatureQueue(nn.Module):
    """The last K momentum features of either modality and their classes. K need not be a multiple of the batch."""

    image: Tensor
    text: Tensor
    classes: Tensor
    position: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("image", F.normalize(torch.randn(dim, size), dim=0))
        self.register_buffer("text", F.normalize(torch.randn(dim, size), dim=0))
        self.register_buffer("classes", torch.full((1, size), EMPTY))
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))

    @torch.no_grad()
    def enqueue(self, image: Tensor, text: Tensor, classes: Tensor) -> None:
        """(B, D), (B, D), (B,) of this rank; those of all ranks take the place of the oldest."""
        image, text, classes = gather_rows(image), gather_rows(text), gather_rows(classes)
        size = self.image.shape[1]
        slots = (self.position + torch.arange(len(classes), device=classes.device)) % size
        self.image[:, slots], self.text[:, slots], self.classes[0, slots] = image.T.to(self.image), text.T.to(self.text), classes
        self.position.copy_((self.position + len(classes)) % size)


def momentum_update(online: nn.Module, averaged: nn.Module, momentum: float) -> None:
    """averaged = momentum * averaged + (1 - momentum) * online, in place."""
    with torch.no_grad():
        for mean, new in zip(averaged.parameters(), online.parameters(), strict=True):
            mean.lerp_(new.to(mean), 1 - momentum)


def momentum_copy(module: nn.Module) -> nn.Module:
    """A copy that no gradient reaches."""
    copied = copy.deepcopy(module)
    for parameter in copied.parameters():
        parameter.requires_grad_(False)
    return copied


def fitc_term(features: Features, queue: FeatureQueue, classes: Tensor, temperature: Tensor, alpha: float) -> Tensor:
    """Contrastive loss of the online features against momentum features of the batch of all ranks and of the queue, which stays as it is.

    classes (B,) int64, of this rank: 1 / K of the target goes to each of the K columns of equal class, mixed with alpha of the momentum
    model's belief.
    """
    every = torch.cat([gather_rows(classes), queue.classes[0]])
    images = torch.cat([gather_rows(features.image_momentum).T, queue.image.to(features.image_momentum).clone()], 1)
    texts = torch.cat([gather_rows(features.text_momentum).T, queue.text.to(features.text_momentum).clone()], 1)
    scale = temperature.detach()
    image_targets = soft_targets(features.image_momentum @ texts / scale, classes, every, alpha)
    text_targets = soft_targets(features.text_momentum @ images / scale, classes, every, alpha)
    image_logits, text_logits = features.image @ texts / temperature, features.text @ images / temperature
    return soft_contrastive_loss(image_logits, text_logits, image_targets, text_targets)


def fitm_weights(features: Features, classes: Tensor, temperature: Tensor) -> NegativeWeights:
    """(B, R * B) weights of drawing negatives for the own rows from the batch of all R ranks: similar ones of another class.

    All 0 in a row without another class.
    """
    every, scale = gather_rows(classes), temperature.detach()
    image, text = features.image.detach(), features.text.detach()
    for_text, for_image = text @ gather_rows(image).T / scale, image @ gather_rows(text).T / scale
    return NegativeWeights(negative_weights(for_text, classes, every), negative_weights(for_image, classes, every))


@dataclass(frozen=True, slots=True)
class Matched:
    """What FITM compares: pictures' tokens (R * B, N, W) and texts (R * B, L), of all R ranks, in rank order."""

    tokens: Tensor
    ids: Tensor
    mask: Tensor

    @classmethod
    def of_all_ranks(cls, tokens: Tensor, ids: Tensor, mask: Tensor) -> "Matched":
        """Texts are padded to the longest of any rank."""
        room = (0, largest(ids.shape[1]) - ids.shape[1])
        return cls(gather_rows(tokens), gather_rows(F.pad(ids, room)), gather_rows(F.pad(mask, room)))


def numbered_over_ranks(pairs: Pairs) -> Pairs:
    """Pairs whose own rows are counted from this rank's first one, negatives over all ranks -> both over all ranks."""
    own = len(pairs.targets) // 3
    _, negative_image, _ = pairs.image_index.split(own)
    rows, _, negative_text = pairs.text_index.split(own)
    rows = rows + rank() * own
    return Pairs(torch.cat([rows, negative_image, rows]), torch.cat([rows, rows, negative_text]), pairs.targets)


class BlipRetrieval(nn.Module):
    """config: transformers.BlipConfig. The text tower serves alone and, given a picture, as cross encoder."""

    def __init__(self, config, queue_size: int) -> None:
        super().__init__()
        from transformers import BlipForImageTextRetrieval

        model = BlipForImageTextRetrieval(config)
        self.config, self.queue_size = config, queue_size
        self.vision_model, self.text_encoder = model.vision_model, model.text_encoder
        self.vision_proj, self.text_proj, self.itm_head = model.vision_proj, model.text_proj, model.itm_head
        self.vision_model_m, self.text_encoder_m = momentum_copy(self.vision_model), momentum_copy(self.text_encoder)
        self.vision_proj_m, self.text_proj_m = momentum_copy(self.vision_proj), momentum_copy(self.text_proj)
        self.temp = nn.Parameter(torch.full((1,), START_TEMPERATURE))
        self.queue = FeatureQueue(queue_size, config.image_text_hidden_size)

    def encode_image(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, H, W) -> tokens (B, N, W), feature (B, D) normalised."""
        tokens = self.vision_model(pixel_values=image).last_hidden_state
        return tokens, F.normalize(self.vision_proj(tokens[:, 0]).float(), dim=-1)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """ids, mask (B, L) -> feature (B, D) normalised."""
        tokens = self.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        return F.normalize(self.text_proj(tokens[:, 0]).float(), dim=-1)

    def match_logits(self, ids: Tensor, mask: Tensor, image_tokens: Tensor, encode_id: int) -> Tensor:
        """Pairs (ids[i], picture i) -> (B, 2) no match, match. The first token becomes [ENC], which asks for a comparison."""
        ids = torch.cat([torch.full_like(ids[:, :1], encode_id), ids[:, 1:]], 1)
        seen = torch.ones(image_tokens.shape[:2], dtype=torch.int64, device=ids.device)
        states = self.text_encoder(
            input_ids=ids, attention_mask=mask, encoder_hidden_states=image_tokens, encoder_attention_mask=seen
        ).last_hidden_state
        return self.itm_head(states[:, 0])

    @torch.no_grad()
    def update_momentum(self, momentum: float) -> None:
        pairs = (
            (self.vision_model, self.vision_model_m),
            (self.text_encoder, self.text_encoder_m),
            (self.vision_proj, self.vision_proj_m),
            (self.text_proj, self.text_proj_m),
        )
        for online, averaged in pairs:
            momentum_update(online, averaged, momentum)

    @torch.no_grad()
    def momentum_features(self, image: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) image and text features of the momentum copies, normalised."""
        picture = self.vision_proj_m(self.vision_model_m(pixel_values=image).last_hidden_state[:, 0])
        text = self.text_proj_m(self.text_encoder_m(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0])
        return F.normalize(picture.float(), dim=-1), F.normalize(text.float(), dim=-1)

    def copy_to_momentum(self) -> None:
        """After loading weights without momentum copies: start them at the online weights."""
        self.update_momentum(momentum=0.0)

    @torch.no_grad()
    def clamp_temperature(self) -> None:
        self.temp.clamp_(*TEMPERATURE_RANGE)
