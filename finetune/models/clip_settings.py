"""Sizes of a CLIP. No torch: read with the config."""

from dataclasses import dataclass, field
from typing import Literal

from pipeline.contracts.errors import ConfigError
from pipeline.ranges import COUNT, check_ranges

Activation = Literal["quick_gelu", "gelu"]


@dataclass(frozen=True, kw_only=True)
class TowerConfig:
    """One transformer."""

    width: int
    layers: int
    heads: int
    hidden: int  # width inside its MLPs

    def __post_init__(self) -> None:
        check_ranges("model.clip tower", self, width=COUNT, layers=COUNT, heads=COUNT, hidden=COUNT)
        if self.width % self.heads:
            raise ConfigError(f"width {self.width} is not a multiple of {self.heads} heads; use another number of heads")


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """Defaults: CLIP ViT-B/16 as OpenAI published it, at IRRA's picture size."""

    height: int = 384
    width: int = 128
    patch: int = 16
    image: TowerConfig = field(default_factory=lambda: TowerConfig(width=768, layers=12, heads=12, hidden=3072))
    text: TowerConfig = field(default_factory=lambda: TowerConfig(width=512, layers=12, heads=8, hidden=2048))
    embed_dim: int = 512
    vocab_size: int = 49408
    context: int = 77  # tokens of a text, start and end included
    activation: Activation = "quick_gelu"

    def __post_init__(self) -> None:
        check_ranges("model.clip", self, height=COUNT, width=COUNT, patch=COUNT, embed_dim=COUNT, vocab_size=COUNT, context=COUNT)
        if self.height % self.patch or self.width % self.patch:
            raise ConfigError(
                f"picture {self.height}x{self.width} is not a multiple of the patch {self.patch}; use multiples of {self.patch}"
            )

    @property
    def grid(self) -> tuple[int, int]:
        return self.height // self.patch, self.width // self.patch
