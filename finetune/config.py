"""FinetuneConfig: one YAML file is one runnable recipe. No torch here, so that `--print-config` and refusals come at once."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from pipeline.config import to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.ranges import BELOW_1, COUNT, NOT_NEGATIVE, check_filled, check_ranges
from pretrain.config import TextsConfig, TrainConfig
from pretrain.models.settings import AptmConfig
from pretrain.settings import AugmentConfig, EngineConfig, OptimConfig

_FREE = {
    "data": ("folder", "workers", "cache_mb"),
    "train": ("log_every", "save_every", "keep"),
    "engine": ("device", "kind", "zero_stage", "compile", "gradient_checkpointing"),
    "eval": ("batch_size", "memory_mb"),
}
"""Fields that may change between a training and its continuation, beside `out`: they change no
result, or nothing but the order in which numbers are added."""

VALIDATION, PAPER = "selected on validation", "paper protocol: selected on test"


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A data set of `finetune.datasets.catalog`."""

    folder: str  # in its publishers' layout; `passerby verify-data` says what is missing
    name: Literal["challenge", "cuhk-pedes", "icfg-pedes", "rstpreid", "pa-100k", "own"] = "challenge"
    kinds: tuple[str, ...] = ("pedestrian", "vehicle")  # what is trained, validated and tested on
    val_share: float = 0.05  # of the identities, held out of train where there is no validation split (ICFG-PEDES)
    workers: int = 0  # loader processes, and threads that read pictures in evaluations; 0: the process itself reads
    cache_mb: int = 256  # resized pictures kept in memory by each loading process

    def __post_init__(self) -> None:
        check_ranges("data", self, workers=NOT_NEGATIVE, cache_mb=NOT_NEGATIVE)
        check_filled("data", self, "folder")
        if not self.kinds or set(self.kinds) - {"pedestrian", "vehicle"} or len(set(self.kinds)) < len(self.kinds):
            raise ConfigError(f"data.kinds={list(self.kinds)}; accepted: pedestrian, vehicle, or both")
        if not 0 < self.val_share < 1:
            raise ConfigError(f"data.val_share={self.val_share}; accepted: above 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class InitConfig:
    """Where weights come from."""

    checkpoint: str | None = None  # a folder that a pre-training wrote; null: random weights, the architecture of `model`

    def __post_init__(self) -> None:
        check_filled("init", self, "checkpoint")


@dataclass(frozen=True, kw_only=True)
class FinetuneObjective:
    """Weights of the terms. A term of weight 0 is not computed."""

    itc_weight: float = 1.0
    itm_weight: float = 1.0
    mlm_weight: float = 1.0
    second_view: float = 0.8  # of ITC and ITM on the second view of the caption, beside their own weights
    attribute_weight: float = 0.0  # of the mean of IAC, IAM and MAM over the attributes of the data set
    label_smoothing: float = 0.0  # of the labels in IAC and IAM
    num_matching_prompts: int = 5  # prompts that IAM draws per step; all where there are fewer

    def __post_init__(self) -> None:
        check_ranges("objective", self, itc_weight=NOT_NEGATIVE, itm_weight=NOT_NEGATIVE, mlm_weight=NOT_NEGATIVE)
        check_ranges("objective", self, second_view=NOT_NEGATIVE, attribute_weight=NOT_NEGATIVE)
        check_ranges("objective", self, label_smoothing=BELOW_1, num_matching_prompts=COUNT)


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Retrieval: a shortlist by similarity, re-ranked by the matching head; queries and pictures of each kind among themselves."""

    batch_size: int = 128
    shortlist: int = 128  # pictures per query that the matching head re-ranks
    memory_mb: int = 4096  # for what the matching head sees of texts and pictures; what does not fit is computed again when needed
    times: int = 3  # validations, evenly spread over the training; the last one is after the last step
    select: Literal["map", "recall@1", "official", "map@10", "mean_accuracy"] = "map"  # the validation score that chooses the checkpoint
    paper_protocol: bool = False  # choose on test and hold nothing out, as the published codes do; every table says so
    expand: int = 0  # pictures per query that A3R's query expansion puts in a new order, for models without a matching head; 0: none
    flip: bool = False  # mean of the features of a picture and of its mirror image

    def __post_init__(self) -> None:
        check_ranges("eval", self, batch_size=COUNT, shortlist=COUNT, memory_mb=COUNT, times=COUNT, expand=NOT_NEGATIVE)

    @property
    def selection(self) -> str:
        """What every table says of the checkpoint, with `paper_protocol`."""
        return PAPER if self.paper_protocol else VALIDATION


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """Everything that decides a fine-tuning. Defaults are APTM's published fine-tuning on one GPU."""

    out: str  # folder of this training
    data: DataConfig
    method: Literal["aptm"] = "aptm"
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
        check_ranges("", self, seed=NOT_NEGATIVE)
        check_filled("", self, "out")
        if self.model is None and not self.init.checkpoint:
            raise ConfigError("model is missing: give init.checkpoint, or the architecture to train from random weights")
        if self.text.masking.mlm_candidates == "padded" and self.text.pad != "max":
            raise ConfigError("text.masking.mlm_candidates=padded hides padding, so it depends on its length; set text.pad=max with it")
        if self.model and self.text.max_tokens > self.model.text.max_positions:
            raise ConfigError(f"text.max_tokens={self.text.max_tokens} exceeds model.text.max_positions={self.model.text.max_positions}")
        check_selection(self.data, self.eval)

    def training_tree(self) -> dict[str, Any]:
        return training_tree(self)

    def with_seed(self, seed: int, out: str) -> "FinetuneConfig":
        return replace(self, seed=seed, out=out)


def check_selection(data: DataConfig, config: EvalConfig) -> None:
    """Raises ConfigError if the score that is to choose the checkpoint is not measured on this data set."""
    attributes = data.name == "pa-100k"
    if attributes != (config.select == "mean_accuracy"):
        accepted = "mean_accuracy" if attributes else "map, recall@1, map@10, official"
        raise ConfigError(f"eval.select={config.select}; accepted for data.name={data.name}: {accepted}")


def training_tree(config: Any) -> dict[str, Any]:
    """The fields that a continuation must share; configs of equal trees may continue one another."""
    tree: dict[str, Any] = to_dict(config)
    del tree["out"], tree["init"]  # the weights themselves are told apart by their sha256
    for section, names in _FREE.items():
        for name in names:
            del tree[section][name]
    return tree
