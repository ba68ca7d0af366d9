"""What the recipes on CLIP's two towers share: starting weights, adapters, averages, batches, checkpoints."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from finetune.datasets.lines import Line, TrainingLines
from finetune.methods.clip_searcher import ClipSearcher
from finetune.methods.clip_start import start_clip
from finetune.methods.ema import Ema
from finetune.methods.files import check_share, model_state, save_folder
from finetune.methods.lora import add_lora, plain_state
from finetune.methods.optim import Rule, parameter_groups
from finetune.methods.pairs import Pair, PairBatch, PairSet, pair_batches
from finetune.models.clip_tokenizer import load_tokenizer, saved_tokenizer
from finetune.recipes import ClipRecipe, IrraRecipe
from pipeline.config import to_dict
from pipeline.fileio import write_bytes
from pipeline.seeds import derive_seed
from pretrain.chance import Chance
from pretrain.checkpoint import TRAINING_STATE, read_tensors, read_weights
from pretrain.distributed import rank as rank_of
from pretrain.models.layout import load_published, load_whole

HEADS = ("classifier.", "attribute_classifier.")


class TowersMethod(ABC):
    """What both recipes share. Subclasses make `model`, `step` and `searcher`."""

    searcher: ClipSearcher
    step: nn.Module
    model: nn.Module
    architecture: str
    rule: Rule
    files: tuple[str, ...] = ()

    def __init__(self, config: IrraRecipe | ClipRecipe, lines: TrainingLines, device: torch.device) -> None:
        self.config, self.lines = config, lines
        self._device, self._chance = device, Chance(config.seed, rank_of(), device)
        torch.manual_seed(derive_seed(config.seed, "weights"))
        start = start_clip(config)
        self.clip, self._state, self.source, self.weights = start.clip, start.state, start.source, start.weights
        self._vocabulary = (self.clip.vocab_size, isinstance(config, IrraRecipe))  # how many ids, and is a mask among them?
        if config.init.checkpoint and start.folder:
            self.tokenizer = saved_tokenizer(start.folder, *self._vocabulary)
        else:
            self.tokenizer = load_tokenizer(start.folder, *self._vocabulary)

    def _fill(self, prefix: str) -> None:
        """Copy the starting weights into the model and add adapters. A head of another size starts anew."""
        if self._state:
            own = self.model.state_dict()
            state = {prefix + name if prefix + name in own else name: value for name, value in self._state.items()}
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
        return parameter_groups(self.model.named_parameters(), self.config.optim, self.rule)

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
        return without_padding(self.padded_tokens(pairs))

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
        self.ema.save(folder / TRAINING_STATE)
        if self.config.lora.rank:
            write_bytes(folder / TRAINING_STATE / "adapters.safetensors", save(model_state(self.model)))

    def load_state(self, folder: Path) -> None:
        """The tokenizer too: a training goes on with the one that it began with, whatever its start would give by now."""
        self.tokenizer = self.searcher.tokenizer = saved_tokenizer(folder, *self._vocabulary)
        self.ema.load(folder / TRAINING_STATE)
        if self.config.lora.rank:
            load_whole(self.model, read_tensors(path := folder / TRAINING_STATE / "adapters.safetensors"), str(path))
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
        load_whole(self.model, state, str(folder))


def without_padding(ids: Tensor) -> Tensor:
    """(B, context) -> (B, L): behind the last end of a text, the largest id, there is nothing but padding."""
    return ids[:, : int(ids.argmax(1).max()) + 1]
