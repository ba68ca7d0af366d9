"""From a batch to named loss terms and their weighted total. The only place with weights.

Each picture is encoded once, and what the cross encoder reads of it is computed once; prompts are encoded once per step and shared by all
pictures. Captions and their masked copies go through the text encoder together, and so do prompts; then two passes of the cross encoder,
one with all pairs of captions (ITM, MLM), one with all pairs of prompts (IAM, MAM): two, because prompts are far shorter than captions.
Legend: B local batch, P = 2A prompts of A attributes, L tokens, N image tokens, D shared width.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.distributed import gather_rows, mean_over_ranks, rank, world_size
from pretrain.draws import Draws
from pretrain.losses.iac import iac_loss
from pretrain.losses.iam import iam_loss, matching_targets
from pretrain.losses.itc import Pairs, itc_rows_loss
from pretrain.losses.itm import itm_loss, matching_pairs, negative_weights
from pretrain.losses.mam import mam_loss, positive_matches
from pretrain.losses.mlm import mlm_loss
from pretrain.losses.reduce import Counted, as_counted_here
from pretrain.masking import Masked
from pretrain.models.aptm import APTM
from pretrain.models.text import ImageMemory, Reading
from pretrain.settings import ObjectiveConfig

STANDARD = ObjectiveConfig()
RIGHT, ROWS = "_right", "_rows"
"""Behind the name of a matching loss, for `pretrain.loop.agree`: how many of how many valid rows are judged right. As counts they may be
added up over parts and ranks, of which some have no valid row."""


@dataclass(frozen=True, slots=True)
class Texts:
    """Tokenised texts (B, L) or prompts (P, L), and their masked copy where MLM or MAM wants one."""

    ids: Tensor
    mask: Tensor
    masked: Masked | None = None

    def to(self, device: torch.device) -> "Texts":
        masked = self.masked and self.masked.to(device)
        return Texts(self.ids.to(device, non_blocking=True), self.mask.to(device, non_blocking=True), masked)

    def at(self, rows: Tensor) -> "Texts":
        """The texts of these row numbers."""
        return Texts(self.ids[rows], self.mask[rows], self.masked and self.masked[rows])

    def pin_memory(self) -> "Texts":
        return Texts(self.ids.pin_memory(), self.mask.pin_memory())


@dataclass(frozen=True, slots=True)
class Pictures:
    """B pictures: tokens (B, N, Dv), feat (B, D) L2-normalised, and what the cross encoder reads of them."""

    tokens: Tensor
    feat: Tensor
    memory: ImageMemory


@dataclass(frozen=True, slots=True)
class Encoded:
    """B texts: tokens (B, L, Dt) and feat (B, D), L2-normalised; masked (B, L, Dt), of the copies with hidden pieces."""

    tokens: Tensor
    feat: Tensor
    masked: Tensor | None = None


def encode_images(model: APTM, image: Tensor) -> Pictures:
    """image (B, 3, H, W), and what the cross encoder reads of it, once for all its readers."""
    tokens, feat = model.encode_image(image)
    return Pictures(tokens, F.normalize(feat.float(), dim=-1), model.image_memory(tokens))


def encode_texts(model: APTM, texts: Texts) -> Encoded:
    """The texts as they are."""
    tokens, feat = model.encode_text(texts.ids, texts.mask)
    return Encoded(tokens, F.normalize(feat.float(), dim=-1))


def encode_with_masked(model: APTM, texts: Texts) -> Encoded:
    """The texts and their masked copies, in one pass."""
    assert texts.masked is not None, "MLM and MAM need masked texts"
    tokens, feat = model.encode_text(torch.cat([texts.ids, texts.masked.ids]), torch.cat([texts.mask, texts.mask]))
    plain, masked = tokens.chunk(2)
    return Encoded(plain, F.normalize(feat[: len(plain)].float(), dim=-1), masked)


def itc_term(
    model: APTM,
    image: Pictures,
    text: Encoded,
    identities: Tensor | None,
    config: ObjectiveConfig = STANDARD,
    earlier: list[Pairs] | None = None,
) -> Tensor:
    """ITC of the own rows against the samples of all ranks, or of the own group of ranks.

    identities (B,) int64, equal for the same person; None: only the own text matches. earlier: features of the parts of this step that are
    done, which count as columns too, without gradient; those of this part are added to it.
    """
    if identities is None:
        identities = torch.arange(len(image.feat), device=image.feat.device) + rank() * len(image.feat)
    own = Pairs(image.feat, text.feat, identities)
    if config.itc_gradient == "published":
        own = Pairs(_scaled(own.image, 1 / world_size()), _scaled(own.text, 1 / world_size()), identities)
    columns = Pairs(*(gather_rows(part, config.itc_group_size) for part in (own.image, own.text, own.identities)))
    if earlier is not None:
        earlier.append(columns.detached())
        columns = Pairs.joined([columns, *earlier[:-1]])
    return itc_rows_loss(own, columns, model.temp, config.itc_chunk)


def _scaled(x: Tensor, factor: float) -> Tensor:
    """x, its gradient times `factor`."""
    return x * factor + (x * (1 - factor)).detach()


def _counted(config: ObjectiveConfig) -> Counted:
    return mean_over_ranks if config.mean_over == "batch" else as_counted_here


@torch.no_grad()
def judged(name: str, logits: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """NAME_right and NAME_rows, float32, of this rank's rows with a valid target (not below 0); logits (..., 2)."""
    valid = targets >= 0
    right = (logits.argmax(-1) == targets) & valid
    return {f"{name}{RIGHT}": right.sum().float(), f"{name}{ROWS}": valid.sum().float()}


def itm_term(
    model: APTM,
    image: Pictures,
    texts: Texts,
    text: Encoded,
    identities: Tensor,
    draws: Draws,
) -> Tensor:
    """ITM alone, with hard negatives of the local batch, over the rows of all ranks."""
    reading, targets = _matching(model, image, text, identities, draws)
    (states,) = model.read(text.tokens, texts.mask, image.memory, [reading])
    return itm_loss(model.match_logits(states), targets, mean_over_ranks)


def mlm_term(model: APTM, image: Pictures, texts: Texts) -> Tensor:
    """MLM alone, over the rows of all ranks."""
    assert texts.masked is not None, "MLM needs masked texts"
    tokens, _ = model.encode_text(texts.masked.ids, texts.mask)
    rows = torch.arange(len(tokens), device=tokens.device)
    (hidden,) = model.read(tokens, texts.mask, image.memory, [Reading(rows, rows, texts.masked.positions)])
    return mlm_loss(model.word_logits(hidden), texts.masked.targets, mean_over_ranks)


def matching_terms(
    model: APTM,
    image: Pictures,
    texts: Texts,
    text: Encoded,
    identities: Tensor,
    draws: Draws,
    config: ObjectiveConfig = STANDARD,
) -> dict[str, Tensor]:
    """itm and mlm as above, in one pass of the cross encoder, and what `judged` counts of itm. `text` comes from encode_with_masked."""
    assert texts.masked is not None, "MLM needs masked texts"
    assert text.masked is not None
    matching, targets = _matching(model, image, text, identities, draws)
    rows = torch.arange(len(texts.ids), device=texts.ids.device)
    completing = Reading(rows + len(rows), rows, texts.masked.positions)
    tokens, mask = torch.cat([text.tokens, text.masked]), torch.cat([texts.mask, texts.mask])
    states, hidden = model.read(tokens, mask, image.memory, [matching, completing])
    logits = model.match_logits(states)
    return {
        "itm": itm_loss(logits, targets, _counted(config)),
        "mlm": mlm_loss(model.word_logits(hidden), texts.masked.targets, _counted(config)),
        **judged("itm", logits, targets),
    }


def _matching(model: APTM, image: Pictures, text: Encoded, identities: Tensor, draws: Draws) -> tuple[Reading, Tensor]:
    """The pairs of ITM and their targets (3B,)."""
    weights = negative_weights(image.feat, text.feat, model.temp, identities)
    pairs = matching_pairs(weights, *draws.negatives(weights))
    first = pairs.text_index.new_zeros(len(pairs.text_index), 1)
    return Reading(pairs.text_index, pairs.image_index, first), pairs.targets


def attribute_terms(
    model: APTM, image: Pictures, labels: Tensor, prompts: Texts, draws: Draws, config: ObjectiveConfig
) -> dict[str, Tensor]:
    """iac, iam and mam, and what `judged` counts of iam. labels (B, A) in {0, 1, -1}; prompts: all P = 2A prompts with masks."""
    assert prompts.masked is not None, "MAM needs masked prompts"
    prompt = encode_with_masked(model, prompts)
    assert prompt.masked is not None
    drawn = draws.prompts(len(prompts.ids), config.num_matching_prompts)
    matches = positive_matches(labels)
    completed, seen = draws.positives(matches)
    count, batch = len(drawn), len(labels)
    every_image = torch.arange(batch, device=labels.device).repeat(count)
    matching = Reading(drawn.repeat_interleave(batch), every_image, drawn.new_zeros(count * batch, 1))
    completing = Reading(completed + len(prompts.ids), seen, prompts.masked.positions[completed])
    tokens, mask = torch.cat([prompt.tokens, prompt.masked]), torch.cat([prompts.mask, prompts.mask])
    states, hidden = model.read(tokens, mask, image.memory, [matching, completing])
    logits, counted = model.match_logits(states).view(count, batch, 2), _counted(config)
    targets = matching_targets(labels, drawn)
    return {
        "iac": iac_loss(image.feat, prompt.feat, model.temp, labels, config.label_smoothing, counted),
        "iam": iam_loss(logits, targets, config.label_smoothing, counted),
        "mam": mam_loss(model.word_logits(hidden), prompts.masked.targets[completed], matches[seen, completed], counted),
        **judged("iam", logits, targets),
    }


def pretrain_terms(
    model: APTM,
    image: Tensor,
    texts: Texts,
    identities: Tensor,
    labels: Tensor,
    prompts: Texts,
    draws: Draws,
    config: ObjectiveConfig,
    earlier: list[Pairs] | None = None,
) -> dict[str, Tensor]:
    """image (B, 3, H, W), identities (B,), labels (B, A) -> scalars: the six terms itc, itm, mlm, iac, iam, mam, and what `judged`
    counts of itm and iam. earlier: see itc_term.
    """
    pictures, text = encode_images(model, image), encode_with_masked(model, texts)
    return {
        "itc": itc_term(model, pictures, text, identities, config, earlier),
        **matching_terms(model, pictures, texts, text, identities, draws, config),
        **attribute_terms(model, pictures, labels, prompts, draws, config),
    }


def pretrain_weights(config: ObjectiveConfig) -> dict[str, float]:
    """Of the six terms in the total."""
    share = config.attribute_weight / 3
    return {"itc": 1.0, "itm": 1.0, "mlm": 1.0, "iac": share, "iam": share, "mam": share}


def weighted_total(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Scalar to minimise: the terms that have a weight."""
    return torch.stack([weights[name] * value for name, value in terms.items() if name in weights]).sum()
