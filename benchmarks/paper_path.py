"""A pre-training step computed as the research code computes it, on our model: what the fast path is measured and checked against.

One pass of the cross encoder for the positives, one for the negatives, one per drawn prompt, one for MLM and one for MAM; every pass
projects the image tokens anew and computes the last layer in full; attention makes queries, keys and values in three products and its
weights in plain sight; window attention rolls, cuts and joins in every block; captions are padded to 56; prompts are tokenised in every
step; masks and hard negatives are drawn one by one; attribute losses loop over attributes. Written from the description of that code, not
from it.
"""

from collections.abc import Sequence
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts.attributes import MISSING
from pretrain.draws import Draws
from pretrain.losses.itc import itc_loss
from pretrain.losses.itm import NegativeWeights, negative_weights
from pretrain.masking import IGNORED, Masked, Masker
from pretrain.models.aptm import APTM
from pretrain.models.settings import VisionConfig
from pretrain.models.text import Layer, MultiHead, padding_bias
from pretrain.models.vision import SwinBlock, SwinEncoder
from pretrain.objective import Texts
from pretrain.parity.masks import mask_one
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
        new, places = mask_one(masker, [int(token.item()) for token in tokens[:length]], rng)
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
    image_embeds = paper_vision(model.vision_encoder, image, model.config.vision)
    image_feat = model.vision_proj(image_embeds[:, 0])
    text_embeds, text_feat = _encoded(model, texts.ids, texts.mask)
    prompt_embeds, prompt_feat = _encoded(model, prompts.ids, prompts.mask)
    image_feat, text_feat, prompt_feat = (F.normalize(f.float(), dim=-1) for f in (image_feat, text_feat, prompt_feat))

    logits = image_feat @ prompt_feat.T / model.temp
    iac = torch.stack([_smoothed(logits[:, 2 * a : 2 * a + 2], labels[:, a], config.label_smoothing) for a in range(labels.shape[1])]).sum()
    drawn = draws.prompts(len(prompts.ids), config.num_matching_prompts).tolist()
    iam = torch.stack([_one_prompt(model, p, prompt_embeds, prompts.mask, image_embeds, labels, config) for p in drawn]).mean()

    negative_image, negative_text = (n.to(device) for n in draws.negatives(negative_weights(image_feat, text_feat, model.temp, identities)))
    images = torch.cat([torch.stack([image_embeds[int(i)] for i in negative_image]), image_embeds])
    embeds = torch.cat([text_embeds, torch.stack([text_embeds[int(t)] for t in negative_text])])
    masks = torch.cat([texts.mask, texts.mask[negative_text]])
    positive = model.match_logits(_cross(model, text_embeds, texts.mask, image_embeds))
    negative = model.match_logits(_cross(model, embeds, masks, images))
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


def paper_vision(encoder: SwinEncoder, image: Tensor, config: VisionConfig) -> Tensor:
    """(B, 3, H, W) -> (B, 1 + N, Dv), each block on the grid of its stage."""
    x = encoder.patch_embed(image)
    for number, stage in enumerate(encoder.layers):
        grid, (window, shift) = config.grid(number), config.window(number)
        for place, block in enumerate(stage.blocks):
            x = _paper_block(block, x, grid, window, shift if place % 2 else 0)
        if stage.downsample is not None:
            maps = x.unflatten(1, grid)
            corners = [maps[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
            x = stage.downsample.reduction(stage.downsample.norm(torch.cat(corners, -1).flatten(1, 2)))
    tokens = encoder.norm(x)
    return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


def _paper_block(block: SwinBlock, x: Tensor, grid: tuple[int, int], window: int, shift: int) -> Tensor:
    (rows, columns), attn, dim = grid, block.attn, x.shape[-1]
    maps = block.norm1(x).unflatten(1, grid)
    maps = maps.roll((-shift, -shift), (1, 2)) if shift else maps
    tiles = maps.view(-1, rows // window, window, columns // window, window, dim).transpose(2, 3).reshape(-1, window * window, dim)
    shape = (-1, window * window, 3, attn.num_heads, dim // attn.num_heads)
    query, key, value = attn.qkv(tiles).reshape(shape).permute(2, 0, 3, 1, 4).unbind(0)
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
    logits = logits + attn.relative_position_bias_table[attn.relative_position_index].permute(2, 0, 1).unsqueeze(0)
    if block.attn_mask is not None:
        count = len(block.attn_mask)
        logits = (logits.unflatten(0, (-1, count)) + block.attn_mask[None, :, None]).flatten(0, 1)
    tiles = attn.proj((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))
    maps = tiles.view(-1, rows // window, columns // window, window, window, dim).transpose(2, 3).reshape(-1, rows, columns, dim)
    maps = maps.roll((shift, shift), (1, 2)) if shift else maps
    x = x + block._dropped(maps.flatten(1, 2))
    return x + block._dropped(block.mlp(block.norm2(x)))


def _encoded(model: APTM, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """As `APTM.encode_text`."""
    bert = model.text_encoder.bert
    hidden = bert.embeddings(ids)
    for layer in bert.encoder.layer[: bert.fusion_layer]:
        hidden = _paper_layer(layer, hidden, padding_bias(mask, hidden), None)
    return hidden, model.text_proj(hidden[:, 0])


def _cross(model: APTM, hidden: Tensor, mask: Tensor, image_embeds: Tensor) -> Tensor:
    """As `APTM.cross`."""
    bert = model.text_encoder.bert
    for layer in bert.encoder.layer[bert.fusion_layer :]:
        hidden = _paper_layer(layer, hidden, padding_bias(mask, hidden), image_embeds)
    return hidden


def _paper_layer(layer: nn.Module, hidden: Tensor, key_bias: Tensor, image: Tensor | None) -> Tensor:
    assert isinstance(layer, Layer)
    hidden = layer.attention.output(_attended(layer.attention.self, hidden, hidden, key_bias), hidden)
    if layer.crossattention is not None and image is not None:
        hidden = layer.crossattention.output(_attended(layer.crossattention.self, hidden, image, None), hidden)
    return layer.output(layer.intermediate(hidden), hidden)


def _attended(heads: MultiHead, hidden: Tensor, context: Tensor, key_bias: Tensor | None) -> Tensor:
    query, key, value = (
        made.unflatten(-1, (heads.num_heads, -1)).transpose(1, 2)
        for made in (heads.query(hidden), heads.key(context), heads.value(context))
    )
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    weights = (logits if key_bias is None else logits + key_bias).softmax(-1)
    return (F.dropout(weights, heads.dropout, heads.training) @ value).transpose(1, 2).flatten(2)


def _one_prompt(
    model: APTM, prompt: int, embeds: Tensor, mask: Tensor, image_embeds: Tensor, labels: Tensor, config: ObjectiveConfig
) -> Tensor:
    """IAM of one prompt: a pass over all images."""
    batch = len(image_embeds)
    logits = model.match_logits(_cross(model, embeds[prompt].repeat(batch, 1, 1), mask[prompt].repeat(batch, 1), image_embeds))
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
    hidden = _cross(model, _encoded(model, masked.ids, mask)[0], mask, image_embeds)
    places = masked.positions.unsqueeze(-1).expand(-1, -1, hidden.shape[-1])
    logits = model.text_encoder.cls.predictions(hidden.gather(1, places))
    return F.cross_entropy(logits.flatten(0, 1).float(), masked.targets.flatten(), ignore_index=IGNORED)
