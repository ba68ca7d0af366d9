"""How many operations a pre-training step is, from the config alone, and what share of the device's peak that makes (MFU).

Counted are matrix products, a multiplication and an addition as two operations, backward as twice forward; what gradient checkpointing
computes again does not count. Legend: L text tokens, N image tokens, M wanted positions, P pairs of a text and an image, D text width.
"""

from dataclasses import dataclass

from pretrain.models.settings import PATCH, AptmConfig, TextConfig, VisionConfig

FORWARD_AND_BACKWARD = 3  # in units of forward
PEAK_TFLOPS = {  # dense, of the maker's data sheets: (bfloat16, float32 without TF32); the first name that fits counts
    "B200": (2250, 75),
    "GH200": (989, 67),
    "H200": (989, 67),
    "H100 PCIe": (756, 51),
    "H100 NVL": (835, 60),
    "H100": (989, 67),
    "L40S": (362, 91.6),
    "A100": (312, 19.5),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSize:
    """One part of a step on one rank."""

    batch: int  # B pictures, each with a caption
    caption_tokens: int  # L, padding included
    prompts: int  # 2A, of all attributes
    prompt_tokens: int
    matching_prompts: int  # drawn for IAM
    caption_masks: int  # slots M of a masked caption
    prompt_masks: int


def step_flops(config: AptmConfig, size: StepSize) -> float:
    """Operations of forward and backward as `pretrain.objective.pretrain_terms` computes them."""
    text, batch, prompts = config.text, size.batch, size.prompts
    captions = [(3 * batch, 1), (batch, size.caption_masks)]
    attributes = [(size.matching_prompts * batch, 1), (prompts, size.prompt_masks)]
    macs = (
        batch * (_vision(config.vision) + _memory(config))
        + 2 * batch * _text(text, size.caption_tokens)
        + 2 * prompts * _text(text, size.prompt_tokens)
        + _pairs(config, size.caption_tokens, 2 * batch, captions)
        + _pairs(config, size.prompt_tokens, 2 * prompts, attributes)
        + _heads(config, size)
    )
    return 2 * FORWARD_AND_BACKWARD * macs


def published_flops(config: AptmConfig, size: StepSize) -> float:
    """The same work as the research code computes it: a pass of the whole cross encoder for each kind of pair, images projected in each.

    At full size with captions padded to 56, 237 GFLOP an image, the customary measure of this training.
    """
    batch, prompts = size.batch, size.prompts
    caption, prompt = (_whole_pass(config, tokens) for tokens in (size.caption_tokens, size.prompt_tokens))
    macs = (
        batch * _vision(config.vision)
        + 2 * batch * _text(config.text, size.caption_tokens)
        + 2 * prompts * _text(config.text, size.prompt_tokens)
        + 4 * batch * caption
        + (size.matching_prompts * batch + prompts) * prompt
        + _heads(config, size)
    )
    return 2 * FORWARD_AND_BACKWARD * macs


def model_flops_utilisation(config: AptmConfig, size: StepSize, parts: int, seconds: float, peak: float | None) -> float | None:
    """MFU of a rank that took `seconds` for a step of so many equal parts: operations a second over `peak`; None without a known peak."""
    return None if peak is None else parts * step_flops(config, size) / seconds / peak


def device_peak(name: str, precision: str) -> float | None:
    """Operations a second of a GPU by the name that torch gives it; None where we do not know."""
    for part, (half, single) in PEAK_TFLOPS.items():
        if part in name:
            return 1e12 * (half if precision == "bfloat16" else single)
    return None


def _vision(config: VisionConfig) -> float:
    """Of one picture."""
    rows, columns = config.grid(0)
    total = rows * columns * 3 * PATCH**2 * config.embed_dim
    for stage, blocks in enumerate(config.depths):
        (rows, columns), dim, window = config.grid(stage), config.stage_dim(stage), config.window(stage)[0]
        tokens = rows * columns
        total += blocks * tokens * (12 * dim**2 + 2 * window**2 * dim)
        if stage + 1 < config.num_stages:
            total += tokens // 4 * 8 * dim**2
    return total


def _image_tokens(config: VisionConfig) -> int:
    rows, columns = config.grid(config.num_stages - 1)
    return 1 + rows * columns


def _memory(config: AptmConfig) -> float:
    """Keys and values of one picture in all layers of the cross encoder."""
    layers = config.text.num_layers - config.text.fusion_layer
    return layers * _image_tokens(config.vision) * 2 * config.vision.output_dim * config.text.hidden_size


def _self_attention(config: TextConfig, wanted: int, tokens: int) -> float:
    """Of one text whose `wanted` positions look at all `tokens`."""
    dim = config.hidden_size
    return 2 * dim**2 * (wanted + tokens) + 2 * wanted * tokens * dim


def _finish(config: TextConfig, tokens: int, image_tokens: int) -> float:
    """Cross-attention, its keys and values given, and feed-forward."""
    dim = config.hidden_size
    cross = 2 * dim**2 + 2 * image_tokens * dim if image_tokens else 0
    return tokens * (cross + 2 * dim * config.intermediate_size)


def _text(config: TextConfig, tokens: int) -> float:
    """One text through the layers without images."""
    return config.fusion_layer * (_self_attention(config, tokens, tokens) + _finish(config, tokens, 0))


def _pairs(config: AptmConfig, tokens: int, texts: int, readings: list[tuple[int, int]]) -> float:
    """`Bert.fuse_pairs` of that many texts; readings: (pairs, wanted positions)."""
    text, image_tokens = config.text, _image_tokens(config.vision)
    layers, pairs = text.num_layers - text.fusion_layer, sum(count for count, _ in readings)
    total = texts * _self_attention(text, tokens, tokens)
    if layers == 1:
        return total + sum(count * _finish(text, wanted, image_tokens) for count, wanted in readings)
    total += pairs * ((layers - 1) * _finish(text, tokens, image_tokens) + (layers - 2) * _self_attention(text, tokens, tokens))
    return total + sum(count * (_self_attention(text, wanted, tokens) + _finish(text, wanted, image_tokens)) for count, wanted in readings)


def _whole_pass(config: AptmConfig, tokens: int) -> float:
    """`Bert.fuse` of one pair."""
    text, image_tokens = config.text, _image_tokens(config.vision)
    layers = text.num_layers - text.fusion_layer
    return _memory(config) + layers * (_self_attention(text, tokens, tokens) + _finish(text, tokens, image_tokens))


def _heads(config: AptmConfig, size: StepSize) -> float:
    """Projections, matching, hidden words; the products of features in ITC and IAC are left out (below a thousandth)."""
    dim, vocab = config.text.hidden_size, config.text.vocab_size or 0
    projected = size.batch * config.vision.output_dim + 2 * (size.batch + size.prompts) * dim
    matched = (3 + size.matching_prompts) * size.batch * (2 * dim**2 + 4 * dim)
    words = (size.batch * size.caption_masks + size.prompts * size.prompt_masks) * (dim**2 + dim * vocab)
    return projected * config.embed_dim + matched + words
