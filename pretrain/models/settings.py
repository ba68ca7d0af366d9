"""The dimensions of APTM, checked when built. No torch here: a config is read and refused before torch loads.

Written into `config.json` of every checkpoint; defaults are the published model (Swin-B, BERT-base, 384x128 pictures).
"""

from dataclasses import dataclass, field, replace

from pipeline.contracts.errors import ConfigError
from pipeline.ranges import BELOW_1, COUNT, POSITIVE, check_ranges

PATCH = 4  # pixels, side of a Swin patch


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """Swin over a grid that need not be square."""

    height: int = 384  # pixels of the input picture
    width: int = 128
    embed_dim: int = 128  # channels of the first stage; doubled by each later stage
    depths: tuple[int, ...] = (2, 2, 18, 2)  # blocks per stage
    num_heads: tuple[int, ...] = (4, 8, 16, 32)
    window_size: int = 8  # tokens, side of an attention window
    drop_path: float = 0.1  # of the last block; rises linearly from 0
    init_std: float = 0.02  # of random linear weights; about embed_dim ** -0.5 lets a narrow model start

    def __post_init__(self) -> None:
        check_ranges("model.vision", self, height=COUNT, width=COUNT, embed_dim=COUNT, depths=COUNT, num_heads=COUNT, window_size=COUNT)
        check_ranges("model.vision", self, drop_path=BELOW_1, init_std=POSITIVE)
        if not self.depths or len(self.depths) != len(self.num_heads):
            raise ConfigError(f"model.vision: {len(self.depths)} depths but {len(self.num_heads)} num_heads; one of each per stage")
        stride = PATCH * 2 ** (len(self.depths) - 1)
        if self.height % stride or self.width % stride:
            raise ConfigError(f"model.vision: picture {self.height}x{self.width}; height and width must be multiples of {stride}")
        for stage, heads in enumerate(self.num_heads):
            rows, columns = self.grid(stage)
            window, _ = self.window(stage)
            if rows % window or columns % window:
                raise ConfigError(
                    f"model.vision: windows of {window} do not tile the {rows}x{columns} grid of stage {stage}; change window_size"
                )
            if self.stage_dim(stage) % heads:
                raise ConfigError(f"model.vision: {self.stage_dim(stage)} channels of stage {stage} are not a multiple of {heads} heads")

    @property
    def num_stages(self) -> int:
        return len(self.depths)

    @property
    def output_dim(self) -> int:
        """Width of the image tokens."""
        return self.stage_dim(self.num_stages - 1)

    def stage_dim(self, stage: int) -> int:
        return self.embed_dim * 2**stage

    def grid(self, stage: int) -> tuple[int, int]:
        """(rows, columns) of tokens that the blocks of a stage see."""
        return self.height // (PATCH * 2**stage), self.width // (PATCH * 2**stage)

    def window(self, stage: int) -> tuple[int, int]:
        """(window, shift of odd blocks), in tokens. A grid no wider than a window takes one window across and no shift."""
        narrow = min(self.grid(stage))
        return (narrow, 0) if narrow <= self.window_size else (self.window_size, self.window_size // 2)


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """BERT: layers below `fusion_layer` read text alone, those from it on also attend to the image."""

    vocab_size: int | None = None  # None: as many entries as the vocabulary file has
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_heads: int = 12
    num_layers: int = 12
    fusion_layer: int = 6
    max_positions: int = 512
    dropout: float = 0.1  # of hidden states and attention, while training
    init_std: float = 0.02  # of random linear weights; about hidden_size ** -0.5 lets a narrow model start

    def __post_init__(self) -> None:
        check_ranges("model.text", self, vocab_size=COUNT, hidden_size=COUNT, intermediate_size=COUNT, num_heads=COUNT, num_layers=COUNT)
        check_ranges("model.text", self, max_positions=COUNT, dropout=BELOW_1, init_std=POSITIVE)
        if self.hidden_size % self.num_heads:
            raise ConfigError(f"model.text.hidden_size={self.hidden_size} is not a multiple of num_heads={self.num_heads}")
        if not 0 < self.fusion_layer < self.num_layers:
            raise ConfigError(f"model.text.fusion_layer={self.fusion_layer}; accepted: 1 to {self.num_layers - 1}, below num_layers")


@dataclass(frozen=True, kw_only=True)
class AptmConfig:
    """Everything that fixes the shapes of APTM."""

    vision: VisionConfig = field(default_factory=VisionConfig)
    text: TextConfig = field(default_factory=TextConfig)
    embed_dim: int = 256  # of the shared space of images and texts
    temperature: float = 0.07  # initial value; learned, never clamped

    def __post_init__(self) -> None:
        check_ranges("model", self, embed_dim=COUNT, temperature=POSITIVE)

    def with_vocab(self, vocab_size: int) -> "AptmConfig":
        """The same model for a vocabulary of that size. Raises ConfigError if the config names another size."""
        if self.text.vocab_size not in (None, vocab_size):
            raise ConfigError(f"model.text.vocab_size={self.text.vocab_size}, but the vocabulary has {vocab_size} pieces; leave it out")
        return replace(self, text=replace(self.text, vocab_size=vocab_size))
