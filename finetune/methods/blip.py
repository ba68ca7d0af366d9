"""BLIP retrieval on vehicles: momentum, queues, FITC and FITM by tags, colour patch. Source: BLIP; the challenge's winners."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from finetune.colour import SIDE_PX, ColourClassifier, coloured_lines, tag_colour, train_colours
from finetune.data import PictureFolder
from finetune.datasets.lines import Line, TrainingLines
from finetune.datasets.records import VEHICLE
from finetune.methods.blip_searcher import BlipSearcher
from finetune.methods.blip_start import blip_config, start_blip
from finetune.methods.blip_step import BlipStep
from finetune.methods.ema import Ema
from finetune.methods.files import check_pieces, check_share, model_state, save_folder
from finetune.methods.optim import alike, epoch_factor, freeze, parameter_groups
from finetune.methods.pairs import Pair, PairBatch, PairSet, Size, pair_batches, stack
from finetune.models.blip import BlipRetrieval
from finetune.recipes import BlipRecipe
from pipeline.config import to_dict
from pipeline.seeds import derive_seed
from pretrain.chance import Chance
from pretrain.checkpoint import TRAINING_STATE, read_weights
from pretrain.distributed import rank as rank_of
from pretrain.models.layout import load_published, load_whole

LARGEST_QUEUE = 57_600


class BlipMethod:
    """Raises ConfigError for a colour patch without coloured vehicles, ContractError for weights that do not fit."""

    files: tuple[str, ...] = ()

    def __init__(self, config: BlipRecipe, lines: TrainingLines, device: torch.device) -> None:
        self.config, self.lines = config, lines
        self._device, self._chance = device, Chance(config.seed, rank_of(), device)
        torch.manual_seed(derive_seed(config.seed, "weights"))
        start = start_blip(config)
        self.source, self.weights, self.tokenizer = start.source, start.weights, start.tokenizer
        self.model = BlipRetrieval(blip_config(start.config, len(self.tokenizer)), queue_size(config, len(lines.records)))
        self._fill(start.state)
        goal = config.objective
        unused = (*(() if goal.itm else ("crossattention", "itm_head")), *(() if goal.itc else ("_proj.", "temp")))
        freeze(self.model, lambda name: any(part in name for part in unused))
        self.colours = self._colours() if goal.colour_patch else None
        self.step = BlipStep(self.model, goal, self.tokenizer.encode_id, config.engine.precision)
        self.searcher = BlipSearcher(self.model, self.tokenizer, config.image, goal, self.colours)
        self.ema = Ema(self.model, config.ema)

    @property
    def side(self) -> int:
        return self.model.config.vision_config.image_size

    def groups(self) -> list[dict[str, Any]]:
        return parameter_groups(self.model.named_parameters(), self.config.optim, alike)

    def lr_factor(self, step: int, num_steps: int) -> float:
        return epoch_factor(step, self._steps_per_epoch, num_steps, self.config.optim)

    @property
    def _steps_per_epoch(self) -> float:
        return max(1.0, len(self.lines.records) / self.config.train.global_batch)

    def term_weights(self) -> Mapping[str, float]:
        goal = self.config.objective
        return {name: weight for name, weight in (("fitc", goal.itc), ("fitm", goal.itm)) if weight}

    def batches(self, first_step: int, num_steps: int, rank: int, world: int) -> Iterator[PairBatch]:
        colour_of = self._line_colour if self.colours else None
        pairs = PairSet(self.lines, self.config, (self.side, self.side), lambda line: line.text, colour_of)
        return pair_batches(pairs, self.lines, self.config, self.collate, (first_step, num_steps), rank, world)

    def collate(self, pairs: Sequence[Pair]) -> PairBatch:
        goal = self.config.objective
        ids, mask = self.tokenizer([pair.text for pair in pairs], goal.max_tokens, goal.max_words)
        batch = stack(pairs, ids, mask, torch.zeros_like(ids))
        return batch if goal.classes == "tag" else batch.with_identities([pair.picture for pair in pairs])

    def arguments(self, batch: PairBatch, step: int) -> tuple[Any, ...]:
        alpha = self.config.objective.alpha * min(1.0, step / self._steps_per_epoch)
        return batch.to(self._device), alpha, self._chance.start(step)

    def after_step(self) -> None:
        self.ema.update()

    def averaged(self) -> Any:
        return self.ema.applied()

    def save(self, folder: Path, facts: Mapping[str, Any]) -> None:
        self.tokenizer.save(folder)
        if self.colours:
            self.colours.save(folder)
        search = {"picture": to_dict(self.config.image), "objective": to_dict(self.config.objective)}
        config = {"architecture": "blip", "blip": self.model.config.to_dict(), "queue_size": self.model.queue_size}
        save_folder(folder, model_state(self.model), config, {**facts, "search": search})

    def save_state(self, folder: Path) -> None:
        self.ema.save(folder / TRAINING_STATE)

    def load_state(self, folder: Path) -> None:
        check_pieces(folder, self.tokenizer.pieces, self.tokenizer.vocab_file)
        self.ema.load(folder / TRAINING_STATE)
        self.load_weights(folder)

    def load_weights(self, folder: Path) -> None:
        load_whole(self.model, read_weights(folder), str(folder))

    def _fill(self, state: Mapping[str, Tensor]) -> None:
        if not state:
            return
        kept = {n: v for n, v in state.items() if not n.startswith("queue.")}  # its classes are those of other data
        report = load_published(self.model, kept, self.source)
        if any("_m." in name for name in report.missing):
            self.model.copy_to_momentum()
        extra = ("queue.", "vision_model_m.", "text_encoder_m.", "vision_proj_m.", "text_proj_m.", "temp")
        missing = tuple(name for name in report.missing if not name.startswith(extra))
        check_share(type(report)(report.loaded, missing, report.unexpected), self.config.init.least_loaded, self.source)
        self.source += f": {report.summary()}"

    def _colours(self) -> ColourClassifier:
        numbers = coloured_lines(self.lines)
        pictures = PictureFolder(self.lines.folder, Size(SIDE_PX, SIDE_PX), square=self.config.image.square)
        return train_colours(self.lines, [pictures.get(self.lines.records[n].image) for n in numbers], numbers)

    def _line_colour(self, line: Line, picture: np.ndarray) -> str | None:
        if line.kind != VEHICLE or self.colours is None:
            return None
        return tag_colour(line.identity) or self.colours.colour(picture)


def queue_size(config: BlipRecipe, num_lines: int) -> int:
    """At least one batch."""
    wanted = config.model.queue_size or min(LARGEST_QUEUE, num_lines // 4)
    return max(wanted, config.train.global_batch)
