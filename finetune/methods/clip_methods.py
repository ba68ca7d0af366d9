"""The recipes on CLIP's towers: IRRA with the winners' additions, and CLIP as A3R fine-tunes it."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finetune.augment_settings import PictureConfig
from finetune.best import find_checkpoint
from finetune.datasets.lines import Line, TrainingLines
from finetune.datasets.records import VEHICLE
from finetune.losses.classification import logit_shift
from finetune.methods.base import Searcher
from finetune.methods.clip_searcher import ClipSearcher
from finetune.methods.clip_step import ClipModel, ClipStep
from finetune.methods.ema import Ema
from finetune.methods.files import check_share, load_whole, model_state, read_config, read_weights, save_folder
from finetune.methods.irra_step import IrraStep, term_weights
from finetune.methods.lora import add_lora, plain_state
from finetune.methods.optim import cosine_factor, epoch_factor, freeze, parameter_groups
from finetune.methods.pairs import Pair, PairBatch, PairSet, mask_rng, pair_batches, stack
from finetune.models.clip_settings import ClipConfig
from finetune.models.clip_tokenizer import load_tokenizer
from finetune.models.clip_weights import fit, read_clip, resize_positions, sized, weight_file
from finetune.models.irra import Irra, IrraConfig
from finetune.recipes import ClipRecipe, IrraRecipe
from pipeline.config import build, to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import read_json, sha256_file
from pipeline.seeds import derive_seed
from pretrain.chance import Chance
from pretrain.checkpoint import METADATA_FILE, MODEL_FILE, TRAINING_STATE, resolve
from pretrain.distributed import rank as rank_of
from pretrain.models.layout import load_published

HEADS = ("classifier.", "attribute_classifier.")


class _TowersMethod(ABC):
    """What both recipes share. Subclasses make `model`, `step` and `searcher`."""

    searcher: Searcher
    step: nn.Module
    model: nn.Module
    architecture: str

    def __init__(self, config: IrraRecipe | ClipRecipe, lines: TrainingLines, device: torch.device) -> None:
        self.config, self.lines = config, lines
        self._device, self._chance = device, Chance(config.seed, rank_of(), device)
        torch.manual_seed(derive_seed(config.seed, "weights"))
        self.clip, self._state, self.source, self.weights = _start(config)
        self.tokenizer = load_tokenizer(_folder_of(config.init.weights), self.clip.vocab_size, isinstance(config, IrraRecipe))

    def _fill(self, prefix: str) -> None:
        """Copy the starting weights into the model and add adapters. A head of another size starts anew."""
        if self._state:
            own = self.model.state_dict()
            state = {prefix + name: value for name, value in self._state.items()}
            state = {n: v for n, v in state.items() if not (n.startswith(HEADS) and (n not in own or own[n].shape != v.shape))}
            report = load_published(self.model, state, self.source)
            if self.config.init.weights:
                towers = {name for name in own if name.startswith("base_model.")}
                report = replace(report, missing=tuple(n for n in report.missing if n in towers))
            check_share(report, self.config.init.least_loaded, self.source)
            self.source += f": {report.summary()}"
        self._state = {}
        if self.config.lora.rank:
            add_lora(self.model, self.config.lora)
        self.ema = Ema(self.model, self.config.ema)

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model.named_parameters(), self.config.optim, by_name=isinstance(self.config, IrraRecipe))

    def lr_factor(self, step: int, num_steps: int) -> float:
        per_epoch = max(1.0, len(self.lines.records) / self.config.train.global_batch)
        return epoch_factor(step, per_epoch, num_steps, self.config.optim)

    def arguments(self, batch: PairBatch, step: int) -> tuple[Any, ...]:
        return batch.to(self._device), self._chance.start(step).generator

    def after_step(self) -> None:
        self.ema.update()

    def averaged(self) -> Any:
        return self.ema.applied()

    def batches(self, first_step: int, num_steps: int, rank: int, world: int) -> Iterator[PairBatch]:
        pairs = PairSet(self.lines, self.config, (self.clip.height, self.clip.width), self.text_of)
        return pair_batches(pairs, self.lines, self.config, self.collate, (first_step, num_steps), rank, world)

    def text_of(self, line: Line) -> str:
        return line.text

    def padded_tokens(self, pairs: Sequence[Pair]) -> Tensor:
        """(B, context) int64."""
        return self.tokenizer([pair.text for pair in pairs], self.clip.context)

    def tokens(self, pairs: Sequence[Pair]) -> Tensor:
        """(B, L) int64, L that of the longest text: a token sees only those before it, so the padding behind the end changes nothing."""
        return _without_padding(self.padded_tokens(pairs))

    @abstractmethod
    def collate(self, pairs: Sequence[Pair]) -> PairBatch:
        """Tokenised texts beside the pictures."""

    def save(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.tokenizer.save(folder)
        search = {"picture": to_dict(self.config.image), "suffix": getattr(self.config.objective, "suffix", "")}
        config = {"architecture": self.architecture, **to_dict(self.model.config)}
        save_folder(folder, plain_state(self.model), config, {**facts, "search": search})

    def save_state(self, folder: Path) -> None:
        """Adapters apart from the weights that they adapt, and the averages."""
        from safetensors.torch import save

        from pipeline.fileio import write_bytes

        self.ema.save(folder / TRAINING_STATE)
        if self.config.lora.rank:
            write_bytes(folder / TRAINING_STATE / "adapters.safetensors", save(model_state(self.model)))

    def load_state(self, folder: Path) -> None:
        self.ema.load(folder / TRAINING_STATE)
        if self.config.lora.rank:
            from safetensors.torch import load_file

            load_whole(self.model, load_file(folder / TRAINING_STATE / "adapters.safetensors"), folder)
        else:
            self.load_weights(folder)

    def load_weights(self, folder: Path) -> None:
        """Plain weights; adapters are set to nothing, because they are inside."""
        state = read_weights(folder)
        if self.config.lora.rank:
            adapted = {name for name in self.model.state_dict() if ".base_layer." in name}
            renamed = {name.replace(".base_layer.", "."): name for name in adapted}
            state = {renamed.get(name, name): value for name, value in state.items()}
            zeros = {n: torch.zeros_like(v) for n, v in self.model.state_dict().items() if "lora_B" in n}
            kept = {n: v for n, v in self.model.state_dict().items() if "lora_A" in n}
            state |= zeros | kept
        load_whole(self.model, state, folder)


class IrraMethod(_TowersMethod):
    architecture = "irra"
    config: IrraRecipe

    def __init__(self, config: IrraRecipe, lines: TrainingLines, device: torch.device) -> None:
        super().__init__(config, lines, device)
        goal, space = config.objective, lines.space
        if (goal.irm or goal.ac) and space is None:
            raise ConfigError(f"objective.irm={goal.irm}, ac={goal.ac} need attributes; data set {config.data.name} has none")
        sizes = IrraConfig(
            clip=self.clip,
            cross_layers=config.model.cross_layers,
            num_classes=max(lines.classes()) + 1 if goal.id else 0,
            num_attributes=len(space) if goal.ac and space else 0,
        )
        self.model = Irra(sizes)
        if not goal.mlm:
            freeze(self.model, lambda name: name.startswith(("cross_", "ln_", "mlm_head.")))
        self._fill("" if config.init.checkpoint else "base_model.")
        labels = torch.tensor([line.labels for line in lines.records]) if goal.ac and goal.ac_prior else None
        shift = None if labels is None else logit_shift(labels, goal.ac_prior)
        assert self.tokenizer.mask_id is not None, "IRRA's tokenizer has a mask"
        self.step = IrraStep(self.model, goal, self.tokenizer.mask_id, config.engine.precision, shift)
        self.searcher = ClipSearcher(self.model, self.tokenizer, config.image)

    def term_weights(self) -> Mapping[str, float]:
        return term_weights(self.config.objective)

    def collate(self, pairs: Sequence[Pair]) -> PairBatch:
        """Masked texts keep their padding: the published cross-former looks at it, so that a cut would let the company change a loss."""
        share = self.config.objective.mask_probability
        padded = self.padded_tokens(pairs)
        hidden = [self.tokenizer.masked(row, mask_rng(pair), share) for row, pair in zip(padded.tolist(), pairs, strict=True)]
        masked, targets = (torch.tensor([row[part] for row in hidden]) for part in (0, 1))
        return stack(pairs, _without_padding(padded), masked, targets)


class ClipMethod(_TowersMethod):
    architecture = "clip"
    config: ClipRecipe

    def __init__(self, config: ClipRecipe, lines: TrainingLines, device: torch.device) -> None:
        super().__init__(config, lines, device)
        self.model = ClipModel(self.clip)
        scale = self._state.pop("logit_scale", None) if config.init.weights else None
        self._fill("" if config.init.checkpoint else "base_model.")
        if scale is not None:
            with torch.no_grad():
                self.model.logit_scale.copy_(scale.view(1))
        self.step = ClipStep(self.model, config.engine.precision)
        self.searcher = ClipSearcher(self.model, self.tokenizer, config.image, config.objective.suffix)
        self._completed = read_completed(Path(config.objective.completed)) if config.objective.completed else {}

    def term_weights(self) -> Mapping[str, float]:
        return {"itc": 1.0}

    def arguments(self, batch: PairBatch, step: int) -> tuple[Any, ...]:
        """Nothing is drawn but what adapters drop."""
        return super().arguments(batch, step)[:1]

    def lr_factor(self, step: int, num_steps: int) -> float:
        return cosine_factor(step, num_steps, self.config.optim.warmup_steps)

    def text_of(self, line: Line) -> str:
        """A3R trains vehicles on their completed tag alone, such as "white Audi SUV"."""
        if line.kind != VEHICLE:
            return line.text
        if line.image in self._completed:
            return self._completed[line.image]
        text = line.text.removesuffix(".")
        for article in ("This is an ", "This is a ", "An ", "A "):
            if self.config.objective.strip_article and text.startswith(article):
                return text.removeprefix(article)
        return line.text

    def collate(self, pairs: Sequence[Pair]) -> PairBatch:
        ids = self.tokens(pairs)
        return stack(pairs, ids, ids, torch.zeros_like(ids))


def read_completed(path: Path) -> dict[str, str]:
    """Image -> completed tag, from lines image$tag$text$completed. Raises ConfigError naming a line of another form."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as err:
        raise ConfigError(
            f"objective.completed={path} cannot be read: {err.strerror}; write it with `passerby challenge complete`"
        ) from err
    rows = [line.split("$") for line in lines]
    if bad := [number for number, row in enumerate(rows, start=1) if len(row) != 4 or not all(row)]:
        raise ConfigError(f"{path}: line {bad[0]} is not image$tag$text$completed")
    return {row[0]: row[3] for row in rows}


def open_clip_searcher(folder: Path, name: str, device: torch.device) -> ClipSearcher:
    """A checkpoint folder of either recipe."""
    values = read_config(folder, name)
    model: Irra | ClipModel = (
        Irra(build(IrraConfig, values, str(folder))) if name == "irra" else ClipModel(build(ClipConfig, values, str(folder)))
    )
    load_whole(model, read_weights(folder), folder)
    clip = model.base_model.config
    assert isinstance(clip, ClipConfig)
    search = read_json(folder / METADATA_FILE).get("search", {})
    tokenizer = load_tokenizer(folder, clip.vocab_size, name == "irra")
    picture = build(PictureConfig, search.get("picture", {}), str(folder / METADATA_FILE))
    return ClipSearcher(model.to(device).eval(), tokenizer, picture, search.get("suffix", ""))


def _start(config: IrraRecipe | ClipRecipe) -> tuple[ClipConfig, dict[str, Tensor], str, str]:
    """Sizes, state (under the model's names from a checkpoint, under CLIP's from published weights), what to tell, and a digest."""
    model, name = config.model, config.init.weights
    if config.init.checkpoint:
        folder = resolve(find_checkpoint(Path(config.init.checkpoint)))
        values = read_config(folder, config.method)
        clip = build(IrraConfig, values, str(folder)).clip if config.method == "irra" else build(ClipConfig, values, str(folder))
        if model.clip and model.clip != clip:
            raise ConfigError(f"model.clip differs from the architecture of init.checkpoint={config.init.checkpoint}; leave it out")
        wanted = model.clip or sized(clip, model.height, model.width)
        state, table = read_weights(folder), "base_model.visual.positional_embedding"
        if table in state:
            state[table] = resize_positions(state[table], wanted.grid, clip.grid)
        return wanted, state, str(folder), sha256_file(folder / MODEL_FILE)
    if name is None:
        return model.clip or sized(ClipConfig(), model.height, model.width), {}, "random weights", "random"
    state, sizes = read_clip(Path(name))
    clip = sized(sizes, model.height, model.width)
    scale = {"logit_scale": state["logit_scale"]} if "logit_scale" in state and config.method == "clip" else {}
    return clip, fit(state, clip) | scale, name, sha256_file(weight_file(Path(name)))


def _folder_of(name: str | None) -> Path | None:
    if name is None:
        return None
    return Path(name) if Path(name).is_dir() else Path(name).parent


def _without_padding(ids: Tensor) -> Tensor:
    """(B, context) -> (B, L): behind the last end of a text, the largest id, there is nothing but padding."""
    return ids[:, : int(ids.argmax(1).max()) + 1]
