"""FinetuneConfig: one YAML file is one runnable recipe. No torch here, so that `--print-config` and refusals come at once."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.config import to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import digest
from pretrain.config import TextsConfig, TrainConfig
from pretrain.models.settings import AptmConfig
from pretrain.settings import AugmentConfig, EngineConfig, OptimConfig

_FREE = {"data": ("folder", "workers", "cache_mb"), "train": ("log_every", "save_every", "keep"), "engine": ("device",)}
"""Fields that may change between a training and its continuation, beside `out`: they change no result."""


@dataclass(frozen=True, kw_only=True)
class ChallengeDataConfig:
    """The challenge's data, pedestrians and vehicles together."""

    folder: str  # in the organisers' layout: train/, val/, test/
    workers: int = 0  # loader processes; 0: the training process reads
    cache_mb: int = 256  # resized pictures kept in memory by each loading process


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Where weights come from."""

    checkpoint: str | None = None  # a folder that a pre-training wrote; null: random weights, the architecture of `model`


@dataclass(frozen=True, kw_only=True)
class FinetuneObjective:
    """Weights of the terms. ITC of the plain caption counts 1; a term of weight 0 is not computed."""

    itm_weight: float = 1.0
    mlm_weight: float = 1.0
    second_view: float = 0.8  # of ITC and ITM on the second view of the caption, beside their own weights
    attribute_weight: float = 0.0  # of the mean of IAC, IAM and MAM over the 21 bits of pedestrians
    label_smoothing: float = 0.0  # of the bits in IAC and IAM
    num_matching_prompts: int = 5  # prompts that IAM draws per step

    def __post_init__(self) -> None:
        for name in ("itm_weight", "mlm_weight", "second_view", "attribute_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"objective.{name}={getattr(self, name)}; accepted: 0 and more")
        if not 0 <= self.label_smoothing < 1 or self.num_matching_prompts < 1:
            raise ConfigError(
                f"objective.label_smoothing={self.label_smoothing}, num_matching_prompts={self.num_matching_prompts}; "
                f"accepted: 0 to below 1, and 1 and more"
            )


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Retrieval: a shortlist by similarity, re-ranked by the matching head; queries and pictures of each kind among themselves."""

    batch_size: int = 128
    shortlist: int = 128  # pictures per query that the matching head re-ranks
    times: int = 3  # validations, evenly spread over the training; the last one is after the last step
    select: Literal["map", "recall@1", "official", "map@10"] = "map"  # the validation score that chooses the checkpoint

    def __post_init__(self) -> None:
        for name in ("batch_size", "shortlist", "times"):
            if getattr(self, name) < 1:
                raise ConfigError(f"eval.{name}={getattr(self, name)}; accepted: 1 and more")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything that decides a fine-tuning. Defaults are APTM's published fine-tuning on one GPU."""

    out: str  # folder of this training
    data: ChallengeDataConfig
    seed: int = 42
    init: InitConfig = field(default_factory=InitConfig)
    model: AptmConfig | None = None  # null: that of the checkpoint; with a checkpoint, it must be that of the checkpoint
    text: TextsConfig = field(default_factory=TextsConfig)  # text.vocab is for random weights; a checkpoint brings its own
    image: AugmentConfig = field(default_factory=AugmentConfig)
    objective: FinetuneObjective = field(default_factory=FinetuneObjective)
    optim: OptimConfig = field(default_factory=lambda: OptimConfig(boosted="upper_layers", schedule="step"))
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=30, global_batch=120))
    engine: EngineConfig = field(default_factory=EngineConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if self.model is None and not self.init.checkpoint:
            raise ConfigError("model is missing: give init.checkpoint, or the architecture to train from random weights")
        if self.text.masking.mlm_candidates == "padded" and self.text.pad != "max":
            raise ConfigError("text.masking.mlm_candidates=padded hides padding, so it depends on its length; set text.pad=max with it")

    def training_digest(self) -> str:
        """Equal for configs whose trainings may continue one another."""
        tree: dict[str, Any] = to_dict(self)
        del tree["out"], tree["init"]  # the weights themselves are told apart by their sha256
        for section, names in _FREE.items():
            for name in names:
                del tree[section][name]
        return digest(tree)

    def with_seed(self, seed: int, out: str) -> "FinetuneConfig":
        return replace(self, seed=seed, out=out)
