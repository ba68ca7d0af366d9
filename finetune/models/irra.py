"""IRRA: CLIP, a cross-former that predicts masked words from the picture, a classifier of identities, and the winners' 21-bit head.

Source: Jiang & Ye, CVPR 2023; parameter names are those of its checkpoints. Attribute head: the challenge's winning solution.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from torch import Tensor, nn

from finetune.models.clip import Clip, QuickGELU, Transformer
from finetune.models.clip_settings import ClipConfig, TowerConfig
from pipeline.contracts.errors import ConfigError

HEAD_WIDTH = 64


@dataclass(frozen=True, kw_only=True)
class IrraConfig:
    """clip: both towers. num_classes and num_attributes: 0 leaves the head out."""

    clip: ClipConfig = field(default_factory=ClipConfig)
    cross_layers: int = 4
    num_classes: int = 0
    num_attributes: int = 0

    def __post_init__(self) -> None:
        if self.clip.embed_dim % HEAD_WIDTH:
            raise ConfigError(f"model.clip.embed_dim={self.clip.embed_dim}; accepted: multiples of {HEAD_WIDTH}, the width of a head")


class Irra(nn.Module):
    """Features only; losses are in `finetune.losses`."""

    def __init__(self, config: IrraConfig) -> None:
        super().__init__()
        self.config = config
        width = config.clip.embed_dim
        heads = width // HEAD_WIDTH
        self.base_model = Clip(config.clip)
        if config.num_classes:
            self.classifier = _small(nn.Linear(width, config.num_classes))
        if config.num_attributes:
            self.attribute_classifier = _small(nn.Linear(width, config.num_attributes))
        self.cross_attn = nn.MultiheadAttention(width, heads, batch_first=True)
        tower = TowerConfig(width=width, layers=config.cross_layers, heads=heads, hidden=4 * width)
        self.cross_modal_transformer = Transformer(tower, "quick_gelu")
        self.ln_pre_t, self.ln_pre_i, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        dense, last = nn.Linear(width, width), nn.Linear(width, config.clip.vocab_size)
        layers = (("dense", dense), ("gelu", QuickGELU()), ("ln", nn.LayerNorm(width)), ("fc", last))
        self.mlm_head = nn.Sequential(OrderedDict(layers))
        residual = width**-0.5 * (2 * config.cross_layers) ** -0.5
        nn.init.normal_(self.cross_attn.in_proj_weight, std=width**-0.5)
        nn.init.normal_(self.cross_attn.out_proj.weight, std=residual)
        nn.init.normal_(dense.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(last.weight, std=residual)

    def fuse(self, text_tokens: Tensor, image_tokens: Tensor) -> Tensor:
        """(B, L, D), (B, N, D) -> (B, L, D): texts look at pictures once, without a residual, then at themselves, without a mask."""
        query, key = self.ln_pre_t(text_tokens), self.ln_pre_i(image_tokens)
        fused = self.cross_attn(query, key, key, need_weights=False)[0]
        return self.ln_post(self.cross_modal_transformer(fused))

    def mlm_logits(self, fused: Tensor) -> Tensor:
        """(..., D) -> (..., V)."""
        return self.mlm_head(fused)


def _small(layer: nn.Linear) -> nn.Linear:
    nn.init.normal_(layer.weight, std=0.001)
    nn.init.zeros_(layer.bias)
    return layer


def irra_lr_group(name: str, lr: float, decay: float, cross: float = 5.0, bias: float = 2.0) -> tuple[float, float]:
    """(learning rate, weight decay) of a parameter by its name; a later rule wins, so biases of the cross-former learn at 2 x, not 10 x."""
    rate = lr
    if "cross" in name:
        rate = lr * cross
    if "bias" in name:
        rate, decay = lr * bias, 0.0
    if "classifier" in name or "mlm_head" in name:
        rate = lr * cross
    return rate, decay


def irra_epoch_factor(epoch: int, epochs: int, warmup: int = 5, start: float = 0.1) -> float:
    """Multiple of the learning rate in the 1-based epoch: linear from `start` over the warm-up, then a cosine to 0."""
    from math import cos, pi

    done = epoch - 1
    if done < warmup:
        return start + (1 - start) * done / warmup
    return 0.5 * (1 + cos(pi * (done - warmup) / max(1, epochs - warmup)))
