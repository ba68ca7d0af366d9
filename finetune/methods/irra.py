"""IRRA with the winners' additions."""

from collections.abc import Mapping, Sequence

import torch

from finetune.datasets.lines import TrainingLines
from finetune.losses.classification import logit_shift
from finetune.methods.clip_searcher import ClipSearcher
from finetune.methods.irra_step import IrraStep, term_weights
from finetune.methods.optim import as_irra, epoch_factor, freeze
from finetune.methods.pairs import Pair, PairBatch, mask_rng, stack
from finetune.methods.towers import TowersMethod, without_padding
from finetune.models.irra import Irra, IrraConfig
from finetune.recipes import IrraRecipe
from pipeline.contracts.errors import ConfigError


class IrraMethod(TowersMethod):
    architecture = "irra"
    rule = staticmethod(as_irra)
    config: IrraRecipe

    def __init__(self, config: IrraRecipe, lines: TrainingLines, device: torch.device) -> None:
        super().__init__(config, lines, device)
        goal, space = config.objective, lines.space
        if (goal.irm or goal.ac) and space is None:
            raise ConfigError(f"objective.irm={goal.irm}, ac={goal.ac} need attributes; data set {config.data.name} has none")
        if goal.irm and space and (beyond := [bit for bit in goal.equal_bits if bit >= len(space)]):
            raise ConfigError(f"objective.equal_bits={list(goal.equal_bits)}: no attribute {beyond[0]}; accepted: 0 to {len(space) - 1}")
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

    def lr_factor(self, step: int, num_steps: int) -> float:
        per_epoch = max(1.0, len(self.lines.records) / self.config.train.global_batch)
        return epoch_factor(step, per_epoch, num_steps, self.config.optim)

    def term_weights(self) -> Mapping[str, float]:
        return term_weights(self.config.objective)

    def collate(self, pairs: Sequence[Pair]) -> PairBatch:
        """Masked texts keep their padding: the published cross-former looks at it, so that a cut would let the company change a loss."""
        share = self.config.objective.mask_probability
        padded = self.padded_tokens(pairs)
        hidden = [self.tokenizer.masked(row, mask_rng(pair), share) for row, pair in zip(padded.tolist(), pairs, strict=True)]
        masked, targets = (torch.tensor([row[part] for row in hidden]) for part in (0, 1))
        return stack(pairs, without_padding(padded), masked, targets)
