"""Sections of the config that pre-training and fine-tuning share. No torch: a config is read and refused before torch loads."""

from dataclasses import dataclass
from typing import Literal

from pipeline.contracts.errors import ConfigError
from pipeline.ranges import BELOW_1, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_ranges

MALS_MEAN = (0.4416847, 0.41812873, 0.4237452)
MALS_STD = (0.3088255, 0.29743394, 0.301009)


@dataclass(frozen=True, kw_only=True)
class MaskingConfig:
    """MLM and MAM: how much is hidden, and in what pieces."""

    probability: float = 0.25  # of the candidates' length
    max_masks: int = 10  # per text; also the number of slots M
    skipgram_probability: float = 0.2  # that a span of pieces is hidden instead of one
    skipgram_size: int = 3  # longest span, in pieces
    mlm_candidates: Literal["tokens", "padded"] = "tokens"  # "padded": padding is hidden and predicted too, as published

    def __post_init__(self) -> None:
        check_ranges("text.masking", self, probability=Range(0, 1, open_below=True), skipgram_probability=SHARE)
        check_ranges("text.masking", self, max_masks=COUNT, skipgram_size=COUNT)


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Pre-training and fine-tuning use the same augmentation."""

    flip: float = 0.5  # probability of a mirrored picture
    operations: int = 2  # RandAugment: how many are drawn, with replacement
    level: int = 7  # RandAugment: strength, 0 to 10
    erasing: float = 0.6  # probability that a rectangle is set to the mean colour
    published_autocontrast: bool = False  # True: AutoContrast whites most pictures out, as the research code does
    mean: tuple[float, float, float] = MALS_MEAN  # of the data set, per channel, of pixels in [0, 1]
    std: tuple[float, float, float] = MALS_STD

    def __post_init__(self) -> None:
        check_ranges("image", self, flip=SHARE, erasing=SHARE, level=Range(0, 10), operations=NOT_NEGATIVE, mean=SHARE, std=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class ObjectiveConfig:
    """The numbers of the objective."""

    attribute_weight: float = 0.8  # of the mean of IAC, IAM and MAM
    label_smoothing: float = 0.4  # of attribute labels in IAC and IAM
    num_matching_prompts: int = 5  # prompts that IAM draws per step; all where there are fewer
    itc_group_size: int = 0  # ranks that gather features for ITC together; 0: all; 1: each rank by itself
    itc_chunk: int = 0  # rows of ITC computed at a time, and again in the backward pass; 0: all at once
    itc_gradient: Literal["exact", "published"] = "exact"  # "published": through the features, 1 / ranks of the exact one
    mean_over: Literal["batch", "rank"] = (
        "batch"  # what the means of ITM, MLM, IAC, IAM, MAM are over; "rank": then over ranks, as published
    )

    def __post_init__(self) -> None:
        check_ranges("objective", self, itc_group_size=NOT_NEGATIVE, itc_chunk=NOT_NEGATIVE)
        check_ranges("objective", self, attribute_weight=NOT_NEGATIVE, label_smoothing=BELOW_1, num_matching_prompts=COUNT)


@dataclass(frozen=True, kw_only=True)
class AdamWConfig:
    """What every optimizer of ours is built from."""

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-8
    weight_decay: float = 0.01
    clip_norm: float = 0.0  # gradient norm above which gradients are scaled down; 0: never, as published

    def __post_init__(self) -> None:
        check_ranges("optim", self, lr=POSITIVE, betas=BELOW_1, eps=POSITIVE, weight_decay=NOT_NEGATIVE, clip_norm=NOT_NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class OptimConfig(AdamWConfig):
    """APTM's parameter groups and schedule."""

    boosted: Literal["cross_attention", "upper_layers", "nothing"] = "cross_attention"
    """Which parameters learn faster: as published, "cross_attention" in pre-training and "upper_layers" in fine-tuning."""
    boost: float = 2.0  # their learning rate, as a multiple of lr
    schedule: Literal["linear", "step"] = "linear"  # "step": linear too, halved from 4 and cut to a fifth from 7 times the warm-up
    warmup: float = 0.1  # in steps, or below 1 as a share of all steps

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("optim", self, boost=NOT_NEGATIVE, warmup=NOT_NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """What runs the training step."""

    kind: Literal["deepspeed", "torch"] = "deepspeed"
    zero_stage: int = 0  # DeepSpeed: 0 replicates, 1 shards optimizer states, 2 gradients too
    precision: Literal["float32", "bfloat16"] = "float32"  # of the forward pass; weights, losses and optimizer stay float32
    device: Literal["auto", "cpu", "cuda"] = "auto"
    compile: bool = False  # Swin blocks and BERT layers through torch.compile: minutes at the start; for GPUs
    gradient_checkpointing: Literal["none", "vision", "text", "all"] = "none"
    """Which blocks (Swin) and layers (BERT) compute their inner values again in the backward pass: less memory, about a third more work."""

    def __post_init__(self) -> None:
        if self.zero_stage not in (0, 1, 2):
            raise ConfigError(f"engine.zero_stage={self.zero_stage}; accepted: 0, 1, 2")
        if self.zero_stage and self.kind != "deepspeed":
            raise ConfigError(f"engine.zero_stage={self.zero_stage} is DeepSpeed's; set engine.kind=deepspeed, or engine.zero_stage=0")
