"""A pre-training step computed as the research code computes it, on our model: what the fast path is measured and checked against.

One pass of the cross encoder for the positives, one for the negatives, one per drawn prompt, one for MLM and one for MAM; every pass
projects the image tokens anew and computes the last layer in full; captions are padded to 56; prompts are tokenised in every step; masks
and hard negatives are drawn one by one; attribute losses loop over attributes. Written from the description of that code, not from it.
"""

from collections.abc import Sequence
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts.attributes import MISSING
from pretrain.draws import Draws
from pretrain.losses.itc import itc_loss
from pretrain.losses.itm import NegativeWeights, negative_weights
from pretrain.masking import IGNORED, Masked, Masker
from pretrain.models.aptm import APTM
from pretrain.objective import Texts
from pretrain.settings import ObjectiveConfig
from pretrain.tokenizer import CaptionTokenizer


class OneByOne:
    """Draws with a host value for each row."""

    def negatives(self, weights: NegativeWeights) -> tuple[Tensor, Tensor]:
        return self._rows(weights.image_for_text), self._rows(weights.text_for_image)

    def prompts(self, num_prompts: int, count: int) -> Tensor:
        return torch.tensor(Random(0).sample(range(num_prompts), count))

    def positives(self, matches: Tensor) -> tuple[Tensor, Tensor]:
        columns = matches.T.float()
        drawn = [p for p in range(len(columns)) if columns[p].sum().item() > 0]
        return torch.tensor(drawn), torch.tensor([int(torch.multinomial(columns[p], 1).item()) for p in drawn])

    def _rows(self, weights: Tensor) -> Tensor:
        return torch.tensor([int(torch.multinomial(row, 1).item()) for row in weights])


def paper_texts(tokenizer: CaptionTokenizer, masker: Masker, texts: Sequence[str], max_tokens: int | None, rng: Random) -> Texts:
    """Captions padded to max_tokens, or prompts (None) to the longest; masked text by text."""
    ids, mask = tokenizer(texts, max_tokens, "longest" if max_tokens is None else "max")
    masked_ids, slots = ids.clone(), masker.config.max_masks
    positions, targets = torch.zeros(len(ids), slots, dtype=torch.int64), torch.full((len(ids), slots), IGNORED)
    for row, tokens in enumerate(ids):
        length = len(tokens) if masker.config.mlm_candidates == "padded" else int(mask[row].sum())
        new, places = masker.one([int(token.item()) for token in tokens[:length]], rng)
        for slot, place in enumerate(places):
            masked_ids[row, place], positions[row, slot], targets[row, slot] = new[place], place, ids[row, place]
    return Texts(ids, mask, Masked(masked_ids, positions, targets))


def paper_terms(
    model: APTM, image: Tensor, texts: Texts, identities: Tensor, labels: Tensor, prompts: Texts, draws: Draws, config: ObjectiveConfig
) -> dict[str, Tensor]:
    """As `pretrain.objective.pretrain_terms`, for one process."""
    assert texts.masked is not None
    assert prompts.masked is not None
    device, batch = image.device, len(image)
    image_embeds, image_feat = model.encode_image(image)
    text_embeds, text_feat = model.encode_text(texts.ids, texts.mask)
    prompt_embeds, prompt_feat = model.encode_text(prompts.ids, prompts.mask)
    image_feat, text_feat, prompt_feat = (F.normalize(f.float(), dim=-1) for f in (image_feat, text_feat, prompt_feat))

    logits = image_feat @ prompt_feat.T / model.temp
    iac = torch.stack(
        [_smoothed(logits[:, 2 * a : 2 * a + 2], labels[:, a], config.label_smoothing) for a in range(labels.shape[1])]
    ).sum()
    drawn = draws.prompts(len(prompts.ids), config.num_matching_prompts).tolist()
    iam = torch.stack([_one_prompt(model, p, prompt_embeds, prompts.mask, image_embeds, labels, config) for p in drawn]).mean()

    negative_image, negative_text = (n.to(device) for n in draws.negatives(negative_weights(image_feat, text_feat, model.temp, identities)))
    images = torch.cat([torch.stack([image_embeds[int(i)] for i in negative_image]), image_embeds])
    embeds = torch.cat([text_embeds, torch.stack([text_embeds[int(t)] for t in negative_text])])
    masks = torch.cat([texts.mask, texts.mask[negative_text]])
    positive = model.match_logits(model.cross(text_embeds, texts.mask, image_embeds))
    negative = model.match_logits(model.cross(embeds, masks, images))
    targets = torch.cat([torch.ones(batch, dtype=torch.int64), torch.zeros(2 * batch, dtype=torch.int64)]).to(device)

    completed, seen = (t.to(device) for t in draws.positives(torch.stack([labels == 0, labels == 1], -1).flatten(1)))
    chosen = prompts.masked[completed]
    return {
        "itc": itc_loss(image_feat, text_feat, model.temp, identities),
        "itm": F.cross_entropy(torch.cat([positive, negative]).float(), targets),
        "mlm": _words(model, texts.masked, texts.mask, image_embeds),
        "iac": iac / labels.shape[1],
        "iam": iam,
        "mam": _words(model, chosen, prompts.mask[completed], image_embeds[seen]),
    }


def _one_prompt(
    model: APTM, prompt: int, embeds: Tensor, mask: Tensor, image_embeds: Tensor, labels: Tensor, config: ObjectiveConfig
) -> Tensor:
    """IAM of one prompt: a pass over all images."""
    batch = len(image_embeds)
    logits = model.match_logits(model.cross(embeds[prompt].repeat(batch, 1, 1), mask[prompt].repeat(batch, 1), image_embeds))
    stated = labels[:, prompt // 2]
    return _smoothed(logits, torch.where(stated == MISSING, MISSING, (stated == prompt % 2).long()), config.label_smoothing)


def _smoothed(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Mean over the rows that state the attribute, row by row; 0 if none does."""
    losses = []
    for row, target in zip(logits.float(), targets, strict=True):
        if target.item() != MISSING:
            soft = torch.full_like(row, smoothing / 2)
            soft[int(target.item())] += 1 - smoothing
            losses.append(-(soft * row.log_softmax(0)).sum())
    return torch.stack(losses).mean() if losses else logits.sum() * 0


def _words(model: APTM, masked: Masked, mask: Tensor, image_embeds: Tensor) -> Tensor:
    """MLM or MAM: all layers at all places, then the hidden ones."""
    hidden = model.cross(model.text_encoder.bert.text(masked.ids, mask), mask, image_embeds)
    places = masked.positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    logits = model.text_encoder.cls.predictions(hidden.gather(1, places))
    return F.cross_entropy(logits.flatten(0, 1).float(), masked.targets.flatten(), ignore_index=IGNORED)
