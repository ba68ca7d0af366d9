"""PretrainConfig: one YAML file is one runnable recipe. `configs/pretrain/aptm.yaml` is the published one.

No torch here, so that `--print-config` and refusals come at once.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pipeline.config import to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import digest
from pretrain.models.settings import AptmConfig
from pretrain.settings import AugmentConfig, EngineConfig, MaskingConfig, ObjectiveConfig, OptimConfig

_FREE = {"data": ("shards", "workers", "cache_mb", "eval_split"), "train": ("log_every", "save_every", "keep"), "engine": ("device",)}
"""Fields that may change between a run and its continuation, beside `out`: they change no
result. Shards are told apart by their index, wherever they lie."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Shards and how samples are taken from them."""

    shards: str  # folder with index.parquet, manifest.json and the tars: runs/NAME/shards
    train_split: str = "train"
    eval_split: str = "val"
    workers: int = 0  # loader processes; 0: the training process reads
    cache_mb: int = 256  # resized pictures kept in memory by each loading process; 0: read again every epoch
    caption: Literal["first", "any"] = "first"  # "any": one of the sample's captions at random, anew each epoch
    identity: Literal["pid", "image"] = "pid"  # which samples are positives of each other; "image": a sample only of itself


@dataclass(frozen=True, kw_only=True)
class TextsConfig:
    """Captions to tokens."""

    vocab: str = "embedded"  # a vocab.txt, a folder that holds one (bert-base-uncased), or "embedded"
    max_tokens: int = 56  # [CLS] included
    max_words: int = 56
    clean: bool = False  # lower-case letters and digits only
    pad: Literal["longest", "max"] = "longest"  # "max" as published; the other gives the same features, faster
    masking: MaskingConfig = field(default_factory=MaskingConfig)

    def __post_init__(self) -> None:
        if self.max_tokens < 2:
            raise ConfigError(f"text.max_tokens={self.max_tokens}; accepted: 2 and more, [CLS] is one of them")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Length and rhythm. An epoch is every training sample once; a step is one global batch."""

    epochs: float = 32.0
    steps: int | None = None  # instead of epochs
    global_batch: int = 600  # samples of one step over all ranks
    log_every: int = 1  # steps between two lines of metrics.jsonl
    save_every: int = 1000  # steps between two checkpoints; there is one at the end in any case
    keep: int = 2  # newest checkpoints that stay

    def __post_init__(self) -> None:
        for name in ("global_batch", "log_every", "save_every", "keep"):
            if getattr(self, name) < 1:
                raise ConfigError(f"train.{name}={getattr(self, name)}; accepted: 1 and more")
        if self.epochs <= 0 or (self.steps is not None and self.steps < 1):
            raise ConfigError(f"train.epochs={self.epochs}, train.steps={self.steps}; accepted: above 0")

    def num_steps(self, num_samples: int) -> int:
        """Epochs, rounded up to whole steps."""
        return self.steps or -int(-self.epochs * num_samples // self.global_batch)


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Where weights come from before the first step; null: random."""

    checkpoint: str | None = None  # a checkpoint folder of ours
    swin: str | None = None  # Swin weights, .safetensors or .pth; window and resolution are adapted
    bert: str | None = None  # BERT masked-LM weights, .safetensors or .bin

    def __post_init__(self) -> None:
        if self.checkpoint and (self.swin or self.bert):
            raise ConfigError("init.checkpoint is a whole model; leave it out, or init.swin and init.bert")


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """`python -m pretrain evaluate`."""

    batch_size: int = 128
    shortlist: int = 128  # pictures per text that the matching head re-ranks
    published_processes: int = 1  # above 1: the ranking of the research code on that many GPUs; published results used 4


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Everything that decides a pre-training."""

    out: str  # folder of this training
    data: DataConfig
    seed: int = 42
    text: TextsConfig = field(default_factory=TextsConfig)
    image: AugmentConfig = field(default_factory=AugmentConfig)
    model: AptmConfig = field(default_factory=AptmConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    init: InitConfig = field(default_factory=InitConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if self.text.masking.mlm_candidates == "padded" and self.text.pad != "max":
            raise ConfigError("text.masking.mlm_candidates=padded hides padding, so it depends on its length; set text.pad=max with it")
        if self.text.max_tokens > self.model.text.max_positions:
            raise ConfigError(f"text.max_tokens={self.text.max_tokens} exceeds model.text.max_positions={self.model.text.max_positions}")

    def training_digest(self) -> str:
        """Equal for configs whose trainings may continue one another."""
        tree: dict[str, Any] = to_dict(self)
        del tree["out"], tree["eval"]
        for section, names in _FREE.items():
            for name in names:
                del tree[section][name]
        return digest(tree)
