"""The recipes beside APTM's (`finetune.config`): IRRA with the winners' additions, BLIP for vehicles, CLIP as A3R runs it.

The field `method` of a YAML file says which one it is. No torch here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from finetune.augment_settings import PictureConfig
from finetune.config import (
    DataConfig,
    EvalConfig,
    FinetuneConfig,
    check_selection,
    training_tree,
)
from finetune.models.clip_settings import ClipConfig
from pipeline.config import apply_overrides, build, of_training, read_yaml
from pipeline.contracts.errors import ConfigError
from pipeline.ranges import BELOW_1, COUNT, NOT_NEGATIVE, POSITIVE, SHARE, Range, check_filled, check_ranges
from pretrain.config import TrainConfig
from pretrain.settings import AdamWConfig, EngineConfig


@dataclass(frozen=True, kw_only=True)
class WeightsConfig:
    """Where weights come from; both null: random, in the architecture of `model`."""

    checkpoint: str | None = None  # a folder that a fine-tuning of the same method wrote; heads of another size start anew
    weights: str | None = None  # published weights: file or folder, in any of the layouts that docs/finetuning.md names
    least_loaded: float = 0.95  # share of the towers' tensors that must be found, or the start is refused

    def __post_init__(self) -> None:
        if self.checkpoint and self.weights:
            raise ConfigError("init.checkpoint and init.weights: give one of the two")
        check_ranges("init", self, least_loaded=SHARE)
        check_filled("init", self, "checkpoint", "weights")


@dataclass(frozen=True, kw_only=True)
class MiningConfig:
    """Hard batches: a part of each batch is filled with lines whose bits differ little from those of another line in it."""

    share: float = 0.0  # of a batch; 0: every line once per epoch, in random order
    distance: int = 2  # most bits (or parts of a tag) that differ; equal ones are no negatives

    def __post_init__(self) -> None:
        check_ranges("mining", self, share=BELOW_1, distance=COUNT)


@dataclass(frozen=True, kw_only=True)
class LoraConfig:
    """Low-rank adapters (peft) on the MLPs of the towers; everything else of the towers is frozen, new heads are trained whole."""

    rank: int = 0  # 0: no adapters
    alpha: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        check_ranges("lora", self, rank=NOT_NEGATIVE, alpha=COUNT, dropout=BELOW_1)


@dataclass(frozen=True, kw_only=True)
class AdamConfig(AdamWConfig):
    """AdamW, or Adam with L2 in the gradient, and open_clip's schedule."""

    coupled_decay: bool = True  # True: Adam with L2, as IRRA; False: AdamW
    layer_decay: float = 1.0  # below 1: each block of a tower learns at this share of the block above it
    warmup_steps: int = 0  # of a linear warm-up from 0 (A3R: 10,000)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("optim", self, layer_decay=Range(0, 1, open_below=True), warmup_steps=NOT_NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class EpochAdamConfig(AdamConfig):
    """With IRRA's schedule by epochs; warmup_steps above 0 takes its place."""

    warmup_epochs: float = 5.0
    warmup_start: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("optim", self, warmup_epochs=NOT_NEGATIVE, warmup_start=SHARE)


@dataclass(frozen=True, kw_only=True)
class IrraAdamConfig(EpochAdamConfig):
    """With IRRA's parameter groups."""

    cross_factor: float = 5.0  # learning rate of cross-former, classifiers and MLM head
    bias_factor: float = 2.0  # of biases, which are not decayed

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("optim", self, cross_factor=NOT_NEGATIVE, bias_factor=NOT_NEGATIVE)


@dataclass(frozen=True, kw_only=True)
class TowersModel:
    """clip null: the sizes of init.weights, or ViT-B/16."""

    clip: ClipConfig | None = None
    height: int = 384
    width: int = 128

    def __post_init__(self) -> None:
        check_ranges("model", self, height=COUNT, width=COUNT)


@dataclass(frozen=True, kw_only=True)
class IrraModel(TowersModel):
    """With the cross-former of MLM."""

    cross_layers: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_ranges("model", self, cross_layers=COUNT)


@dataclass(frozen=True, kw_only=True)
class IrraObjective:
    """Weights of the terms; 0 leaves a term and its head out."""

    sdm: float = 1.0
    irm: float = 0.0
    mlm: float = 1.0
    id: float = 1.0
    ac: float = 0.0
    itc: float = 0.0
    tal: float = 0.0
    reading: Literal["recommended", "same", "released"] = "recommended"  # of targets that are not symmetric
    divergence: Literal["reverse", "forward"] = "reverse"  # KL(p || q) as published, or KL(q || p)
    text_bits: Literal["label", "mentioned"] = "label"  # IRM: what a text asks for, all bits of its line or those that it names
    equal_bits: tuple[int, ...] = (0,)  # IRM: bits that must agree; the published formula has none, the released code gender
    ac_focus: float = 0.0  # gamma of the focal variant
    ac_prior: float = 0.0  # tau of logit adjustment; 0: plain
    mask_probability: float = 0.15
    mask_everywhere: bool = False  # the released bug: SDM and ID see the masked text too
    noise_masking: float = 0.0  # share of tokens hidden from SDM and IRM too, those least like the picture first in chance
    margin: float = 0.1  # TAL
    tau: float = 0.015  # TAL
    consensus: bool = False  # TAL: leave out the pairs of a batch that a mixture of their losses holds for noisy

    def __post_init__(self) -> None:
        names = ("sdm", "irm", "mlm", "id", "ac", "itc", "tal")
        for name in names:
            check_ranges("objective", self, **{name: NOT_NEGATIVE})
        if not any(getattr(self, name) for name in names):
            raise ConfigError(f"objective: {', '.join(names)} are all 0; accepted: one of them above 0")
        check_ranges("objective", self, mask_probability=Range(0, 1, open_below=True), noise_masking=BELOW_1, equal_bits=NOT_NEGATIVE)
        check_ranges("objective", self, ac_focus=NOT_NEGATIVE, ac_prior=NOT_NEGATIVE, margin=NOT_NEGATIVE, tau=POSITIVE)


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """What all of these recipes share."""

    out: str
    data: DataConfig
    seed: int = 42
    init: WeightsConfig = field(default_factory=WeightsConfig)
    image: PictureConfig = field(default_factory=PictureConfig)
    optim: AdamConfig = field(default_factory=AdamConfig)
    train: TrainConfig = field(default_factory=lambda: TrainConfig(epochs=60, global_batch=64))
    engine: EngineConfig = field(default_factory=EngineConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    ema: float = 0.0  # decay of averaged weights, which are validated and saved as best; 0: none

    def __post_init__(self) -> None:
        check_ranges("", self, seed=NOT_NEGATIVE, ema=BELOW_1)
        check_filled("", self, "out")
        check_selection(self.data, self.eval)

    def training_tree(self) -> dict[str, Any]:
        return training_tree(self)

    def with_seed(self, seed: int, out: str) -> Any:
        return replace(self, seed=seed, out=out)


@dataclass(frozen=True, kw_only=True)
class IrraRecipe(_Recipe):
    method: Literal["irra"]
    model: IrraModel = field(default_factory=IrraModel)
    optim: IrraAdamConfig = field(default_factory=IrraAdamConfig)
    objective: IrraObjective = field(default_factory=IrraObjective)
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass(frozen=True, kw_only=True)
class ClipObjective:
    """InfoNCE with CLIP's learned temperature."""

    suffix: str = ""  # put behind a query about a vehicle (A3R: " image taken by traffic surveillance cameras")
    strip_article: bool = False  # take "This is a" and "A" off vehicle texts before training on them
    completed: str | None = None  # file of `passerby challenge complete`: captions of vehicles with colour and type filled in


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(_Recipe):
    method: Literal["clip"]
    model: TowersModel = field(default_factory=lambda: TowersModel(height=224, width=224))
    objective: ClipObjective = field(default_factory=ClipObjective)
    lora: LoraConfig = field(default_factory=LoraConfig)


@dataclass(frozen=True, kw_only=True)
class BlipModel:
    """config null: that of init.weights, a transformers folder. Else transformers' BlipConfig as a mapping."""

    config: dict[str, Any] | None = None
    queue_size: int | None = None  # null: a quarter of the lines, 57,600 at most, so that no picture waits there for long

    def __post_init__(self) -> None:
        check_ranges("model", self, queue_size=COUNT)


@dataclass(frozen=True, kw_only=True)
class BlipObjective:
    """Weights of FITC and FITM, their momentum and classes, and how texts are read."""

    itc: float = 1.0
    itm: float = 1.0
    alpha: float = 0.4  # share of the momentum model's belief in the targets, reached over the first epoch
    momentum: float = 0.995  # of the momentum copies; short trainings want less, or their targets stay those of the start
    classes: Literal["tag", "picture"] = "tag"  # "tag": FITC and FITM; "picture": plain BLIP, each picture its own class
    vocab: str = "embedded"  # a BERT vocab.txt or a folder that holds one; init.weights brings its own
    max_tokens: int = 35
    max_words: int = 30
    colour_patch: bool = False  # paste the colour: training lines from their tag, all others from the trained classifier

    def __post_init__(self) -> None:
        check_ranges("objective", self, itc=NOT_NEGATIVE, itm=NOT_NEGATIVE, momentum=BELOW_1, alpha=SHARE, max_words=COUNT)
        check_ranges("objective", self, max_tokens=Range(2))
        if not self.itc and not self.itm:
            raise ConfigError("objective: itc and itm are both 0; accepted: one of them above 0")


@dataclass(frozen=True, kw_only=True)
class BlipRecipe(_Recipe):
    method: Literal["blip"]
    model: BlipModel = field(default_factory=BlipModel)
    optim: EpochAdamConfig = field(default_factory=EpochAdamConfig)
    objective: BlipObjective = field(default_factory=BlipObjective)


Recipe = FinetuneConfig | IrraRecipe | ClipRecipe | BlipRecipe
RECIPES: dict[str, type] = {"aptm": FinetuneConfig, "irra": IrraRecipe, "clip": ClipRecipe, "blip": BlipRecipe}


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """path: a recipe, or a training's folder or config.yaml. Raises ConfigError for whatever is wrong with it."""
    file, items = of_training(path, overrides)
    return recipe_of(apply_overrides(read_yaml(file), items), str(file))


def recipe_of(data: Mapping[str, Any], where: str) -> Recipe:
    """Raises ConfigError naming `where` for an unknown method or field, and for settings that do not go together."""
    method = data.get("method", "aptm")
    if method not in RECIPES:
        raise ConfigError(f"{where}: method={method!r}; accepted: {', '.join(RECIPES)}")
    config: Recipe = build(RECIPES[method], data, where)
    if problem := _idle(config):
        raise ConfigError(f"{where}: {problem}")
    return config


def _idle(config: Recipe) -> str:
    """What would do nothing, or in search something else than in training."""
    method, data = config.method, config.data
    if config.eval.expand and method in ("aptm", "blip"):
        return f"eval.expand={config.eval.expand} is for models without a matching head (irra, clip); method: {method} accepts 0"
    if isinstance(config, BlipRecipe) and config.objective.colour_patch and "pedestrian" in data.kinds:
        return (
            f"objective.colour_patch=true with data.kinds={list(data.kinds)}: every picture that is searched gets the patch, and "
            f"in training vehicles alone have one; set data.kinds=[vehicle], or colour_patch=false"
        )
    return ""
