"""CLIP as A3R fine-tunes it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from finetune.datasets.lines import Line, TrainingLines
from finetune.datasets.records import VEHICLE
from finetune.methods.clip_searcher import ClipSearcher
from finetune.methods.clip_step import ClipModel, ClipStep
from finetune.methods.optim import as_open_clip, cosine_factor
from finetune.methods.pairs import Pair, PairBatch, stack
from finetune.methods.towers import TowersMethod
from finetune.recipes import ClipRecipe
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import sha256_file


class ClipMethod(TowersMethod):
    architecture = "clip"
    rule = staticmethod(as_open_clip)
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
        self._completed: dict[str, str] = {}
        if config.objective.completed:
            self._completed = read_completed(path := Path(config.objective.completed))
            self.files = (sha256_file(path),)

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
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"objective.completed={path} cannot be read: {err}; write it with `passerby challenge complete`") from err
    rows = [line.split("$") for line in lines]
    if bad := [number for number, row in enumerate(rows, start=1) if len(row) != 4 or not all(row)]:
        raise ConfigError(f"{path}: line {bad[0]} is not image$tag$text$completed")
    return {row[0]: row[3] for row in rows}
