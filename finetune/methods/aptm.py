"""APTM's fine-tuning as a method: the objective of `finetune.objective`, attribute prompts of the data set's own space."""

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from finetune.config import FinetuneConfig
from finetune.data import Batch, train_batches
from finetune.datasets.lines import TrainingLines
from finetune.initialize import start_model
from finetune.methods.files import check_pieces
from finetune.methods.optim import freeze
from finetune.objective import FinetuneStep, term_weights, unused_in
from finetune.protocol import Protocol
from pipeline.contracts.errors import ConfigError
from pretrain import checkpoint
from pretrain.chance import Chance
from pretrain.distributed import rank as rank_of
from pretrain.masking import Masker
from pretrain.objective import Texts
from pretrain.optim import lr_factor, parameter_groups


class AptmMethod:
    """Raises ConfigError if the objective wants captions or attributes that the data set does not have."""

    files: tuple[str, ...] = ()

    def __init__(self, config: FinetuneConfig, lines: TrainingLines, device: torch.device) -> None:
        goal = config.objective
        if goal.attribute_weight and lines.space is None:
            raise ConfigError(
                f"objective.attribute_weight={goal.attribute_weight}, but data set {config.data.name} has no attributes; set it to 0"
            )
        if (goal.itc_weight or goal.itm_weight or goal.mlm_weight) and not any(line.text for line in lines.records):
            raise ConfigError(f"data set {config.data.name} has no captions; set objective.itc_weight, itm_weight and mlm_weight to 0")
        start = start_model(config)
        freeze(start.model, unused_in(goal, start.model.config))
        self.config, self.lines = config, lines
        self.model, self.tokenizer = start.model, start.tokenizer
        self.source, self.weights = start.source, start.weights
        self.step = FinetuneStep(self.model, goal, config.engine.precision)
        self.searcher = Protocol.of(config).searcher(self.model, self.tokenizer)
        self._device, self._chance = device, Chance(config.seed, rank_of(), device)
        self._masker = Masker(self.tokenizer, config.text.masking)
        prompts = lines.space.prompts if goal.attribute_weight and lines.space else None
        self._prompts = Texts(*self.tokenizer(prompts, None)) if prompts else None

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model, self.model.config, self.config.optim)

    def lr_factor(self, step: int, num_steps: int) -> float:
        return lr_factor(step, num_steps, self.config.optim.warmup, self.config.optim.schedule)

    def term_weights(self) -> Mapping[str, float]:
        return term_weights(self.config.objective)

    def batches(self, first_step: int, num_steps: int, rank: int, world: int) -> Iterator[Batch]:
        vision, vocab = self.model.config.vision, self.tokenizer.vocab_file
        return train_batches(self.lines, self.config, vision, vocab, (first_step, num_steps), rank, world)

    def arguments(self, batch: Batch, step: int) -> tuple[Any, ...]:
        """Adds the masks of the step to captions and prompts. Order matters to the random stream: captions, prompts, draws."""
        texts = self._chance.masked(self._masker, batch.texts, step, "captions")
        prompts = self._prompts and self._chance.masked(self._masker, self._prompts, step, "prompts")
        draws = self._chance.start(step)
        return replace(batch, texts=texts).to(self._device), prompts and prompts.to(self._device), draws

    def after_step(self) -> None: ...

    def averaged(self) -> Any:
        return nullcontext()

    def save(self, folder: Path, facts: Mapping[str, Any]) -> None:
        checkpoint.save_model(folder, self.model, self.tokenizer, dict(facts))

    def save_state(self, folder: Path) -> None: ...

    def load_state(self, folder: Path) -> None:
        check_pieces(folder, self.tokenizer.pieces, self.tokenizer.vocab_file)
        self.load_weights(folder)

    def load_weights(self, folder: Path) -> None:
        checkpoint.load_weights(self.model, folder)
