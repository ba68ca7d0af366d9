"""PretrainConfig: one YAML file is one runnable recipe. `configs/pretrain/mals_paper.yaml` is the published one.

No torch here, so that `--print-config` and refusals come at once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from os.path import normpath
from typing import Any, Literal

from pipeline.config import to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.ranges import COUNT, NOT_NEGATIVE, POSITIVE, check_filled, check_ranges
from pretrain.models.settings import AptmConfig
from pretrain.settings import AugmentConfig, EngineConfig, MaskingConfig, ObjectiveConfig, OptimConfig

_FREE = {
    "data": ("shards", "workers", "cache_mb", "eval_split", "attributes"),
    "train": ("log_every", "save_every", "keep", "validate_every", "spike_factor", "tensorboard"),
    "engine": ("device", "kind", "zero_stage", "compile", "gradient_checkpointing"),
}
"""Fields that may change between a run and its continuation, beside `out`: they change no
result, or (engine) nothing but the order in which numbers are added. Shards are told apart by their index, wherever they lie."""


PAPER: dict[str, Any] = {
    "text": {"pad": "max", "masking": {"mlm_candidates": "padded"}},
    "image": {"published_autocontrast": True},
    "objective": {"itc_gradient": "published", "mean_over": "rank"},
    "eval": {"published_processes": 4},
}
"""What `objective: paper` stands for: every switch on what the research code does. Fields that a recipe names itself win."""


@dataclass(frozen=True, kw_only=True)
class ShardSet:
    """One part of a mixture."""

    shards: str  # folder or URL, as below
    weight: float = 1.0  # share of the samples of a training, in proportion to those of the other parts


Mixture = tuple[ShardSet, ...]


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Shards and how samples are taken from them."""

    shards: str | Mixture
    """Folder with index.parquet, manifest.json and the tars (runs/NAME/shards), or its URL for fsspec; or a list of {shards, weight}."""
    train_split: str = "train"
    eval_split: str = "val"
    workers: int = 0  # loader processes; 0: the training process reads
    cache_mb: int = 256  # resized pictures kept in memory by each loading process; 0: read again every epoch
    caption: Literal["first", "any"] = "first"  # "any": one of the sample's captions at random, anew each epoch
    attributes: str | None = None  # YAML file with an attribute space of one's own (pretrain/labelling.py); null: that of the shards
    identity: Literal["pid", "image"] = "pid"  # which samples are positives of each other; "image": a sample only of itself

    def __post_init__(self) -> None:
        check_ranges("data", self, workers=NOT_NEGATIVE, cache_mb=NOT_NEGATIVE)
        check_filled("data", self, "shards", "train_split", "eval_split", "attributes")
        if isinstance(self.shards, tuple):
            folders = [part.shards.rstrip("/") if "://" in part.shards else normpath(part.shards) for part in self.shards]
            if not folders or len(set(folders)) < len(folders):
                raise ConfigError(f"data.shards lists {folders}; accepted: at least one folder, each once")
            for part in self.shards:
                if not 0 < part.weight < math.inf:
                    raise ConfigError(f"data.shards: weight={part.weight:g} of {part.shards}; accepted: above 0")


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
        check_ranges("text", self, max_words=COUNT)
        check_filled("text", self, "vocab")
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
        check_ranges("train", self, global_batch=COUNT, log_every=COUNT, save_every=COUNT, keep=COUNT, epochs=POSITIVE, steps=COUNT)

    def num_steps(self, num_samples: int) -> int:
        """Epochs, rounded up to whole steps."""
        return self.steps or -int(-self.epochs * num_samples // self.global_batch)


@dataclass(frozen=True, kw_only=True)
class PretrainTrainConfig(TrainConfig):
    """Beside the length, into how many parts a rank cuts its share of a batch."""

    accumulation: int = 1
    """Parts computed one after another before a step. ITC sees those done as further negatives; ITM, IAM, MAM draw inside a part."""
    validate_every: int = 0  # steps between two evaluations on data.eval_split, one more at the end, each after a checkpoint; 0: none
    tensorboard: bool = False  # also write event files for TensorBoard, into OUT/tensorboard; needs the extra `tensorboard`
    spike_factor: float = 0.0  # stop when the loss exceeds this many times the median of the last 50 steps; 0: never

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("train", self, accumulation=COUNT, validate_every=NOT_NEGATIVE, spike_factor=NOT_NEGATIVE)
        if self.spike_factor and self.spike_factor <= 1:
            raise ConfigError(f"train.spike_factor={self.spike_factor}; accepted: above 1, or 0 for no guard")


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Where weights come from before the first step; null: random."""

    checkpoint: str | None = None  # a checkpoint folder of ours, or a file in the published layout (.pth, .safetensors)
    swin: str | None = None  # Swin weights: .safetensors, .pth, or a transformers folder; window and resolution are adapted
    bert: str | None = None  # BERT masked-LM weights: .safetensors, .bin, or a transformers folder

    def __post_init__(self) -> None:
        check_filled("init", self, "checkpoint", "swin", "bert")
        if self.checkpoint and (self.swin or self.bert):
            raise ConfigError("init.checkpoint is a whole model; leave it out, or init.swin and init.bert")


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """`python -m pretrain evaluate`."""

    batch_size: int = 128
    shortlist: int = 128  # pictures per text that the matching head re-ranks
    published_processes: int = 1  # above 1: the ranking of the research code on that many GPUs; published results used 4
    memory_mb: int = 4096  # for token embeddings, half for pictures, half for texts; what does not fit is computed again when needed

    def __post_init__(self) -> None:
        check_ranges("eval", self, batch_size=COUNT, shortlist=COUNT, published_processes=COUNT, memory_mb=COUNT)


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
    train: PretrainTrainConfig = field(default_factory=PretrainTrainConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    init: InitConfig = field(default_factory=InitConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        check_ranges("", self, seed=NOT_NEGATIVE)
        check_filled("", self, "out")
        if self.text.masking.mlm_candidates == "padded" and self.text.pad != "max":
            raise ConfigError("text.masking.mlm_candidates=padded hides padding, so it depends on its length; set text.pad=max with it")
        if self.text.max_tokens > self.model.text.max_positions:
            raise ConfigError(f"text.max_tokens={self.text.max_tokens} exceeds model.text.max_positions={self.model.text.max_positions}")

    @staticmethod
    def expanded(tree: Mapping[str, Any]) -> dict[str, Any]:
        """`objective: paper` in the words of the fields."""
        if tree.get("objective") != "paper":
            return dict(tree)
        return _merged(PAPER, {name: value for name, value in tree.items() if name != "objective"})

    def inputs(self) -> dict[str, Any]:
        """What pictures and captions become before they enter the model, beside the picture's size and the vocabulary."""
        text, image = self.text, self.image
        return {
            "text": {"max_tokens": text.max_tokens, "max_words": text.max_words, "clean": text.clean},
            "image": {"mean": list(image.mean), "std": list(image.std)},
        }

    def training_tree(self) -> dict[str, Any]:
        """The fields that a continuation must share. Not where weights came from, and not where the vocabulary lies: its pieces count."""
        tree: dict[str, Any] = to_dict(self)
        del tree["out"], tree["eval"], tree["init"], tree["text"]["vocab"]
        for section, names in _FREE.items():
            for name in names:
                del tree[section][name]
        return tree


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` on top of `below`, section by section."""
    both = {name: _merged(below[name], above[name]) for name in below.keys() & above.keys() if isinstance(above[name], Mapping)}
    return {**below, **above, **both}
