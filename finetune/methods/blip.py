"""BLIP retrieval on vehicles: momentum, queues, FITC and FITM by tags, colour patch. Source: BLIP; the challenge's winners."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from finetune.augment import normalised, paste
from finetune.augment_settings import PictureConfig
from finetune.best import find_checkpoint
from finetune.colour import SIDE_PX, ColourClassifier, coloured_lines, load_colours, tag_colour, train_colours
from finetune.data import PictureFolder, decode
from finetune.datasets.lines import Line, TrainingLines
from finetune.datasets.records import VEHICLE
from finetune.methods.ema import Ema
from finetune.methods.files import check_share, load_whole, model_state, read_config, read_weights, save_folder
from finetune.methods.optim import epoch_factor, freeze, parameter_groups
from finetune.methods.pairs import Pair, PairBatch, PairSet, Size, pair_batches, stack
from finetune.models.blip import BlipRetrieval, Features, Matched, fitc_term, fitm_weights, numbered_over_ranks
from finetune.models.blip_tokenizer import BlipTokenizer
from finetune.models.clip_weights import read_state, weight_file
from finetune.recipes import BlipObjective, BlipRecipe
from pipeline.config import build, to_dict
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import read_json, sha256_file
from pipeline.seeds import derive_seed
from pretrain.chance import Chance
from pretrain.checkpoint import METADATA_FILE, MODEL_FILE, TRAINING_STATE, resolve
from pretrain.distributed import mean_over_ranks
from pretrain.distributed import rank as rank_of
from pretrain.draws import Draws
from pretrain.losses.itm import itm_loss, matching_pairs
from pretrain.models.layout import load_published
from pretrain.retrieval.encode import ImageFeatures, TextFeatures
from pretrain.tokenizer import VOCAB_FILE, resolve_vocab

LARGEST_QUEUE = 57_600
START_STD = 0.02  # of random weights: transformers' default for BLIP's vision tower is 1e-10, all pictures alike and gradients of 1e10
OUTSIDE = 100.0  # taken off what the shortlist leaves out: it keeps its order, below everything that was re-ranked


class BlipStep(nn.Module):
    """(batch, alpha, draws) -> {"fitc", "fitm"}; moves the momentum copies and the queues on the way, in the published order."""

    def __init__(self, model: BlipRetrieval, config: BlipObjective, encode_id: int, precision: str) -> None:
        super().__init__()
        self.model, self.config, self.encode_id = model, config, encode_id
        self.autocast = precision == "bfloat16"

    def forward(self, batch: PairBatch, alpha: float, draws: Draws) -> dict[str, Tensor]:
        model, classes = self.model, batch.identities
        model.clamp_temperature()
        with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
            tokens, image = model.encode_image(batch.image)
            text = model.encode_text(batch.ids, batch.masked)
            model.update_momentum(self.config.momentum)
            features = Features(image, text, *model.momentum_features(batch.image, batch.ids, batch.masked))
        terms = {}
        if self.config.itc:
            terms["fitc"] = fitc_term(features, model.queue, classes, model.temp, alpha)
        model.queue.enqueue(features.image_momentum, features.text_momentum, classes)
        if self.config.itm:
            weights = fitm_weights(features, classes, model.temp)
            pairs = numbered_over_ranks(matching_pairs(weights, *draws.negatives(weights)))
            with torch.autocast(batch.image.device.type, torch.bfloat16, enabled=self.autocast):
                every = Matched.of_all_ranks(tokens, batch.ids, batch.masked)
                ids, mask = every.ids[pairs.text_index], every.mask[pairs.text_index]
                logits = model.match_logits(ids, mask, every.tokens[pairs.image_index], self.encode_id)
            terms["fitm"] = itm_loss(logits.float(), pairs.targets, mean_over_ranks)
        return terms


class BlipSearcher:
    """Cosine shortlist, then match logit + cosine. With a colour classifier, vehicles get the patch of the colour that it sees."""

    has_matching = True

    def __init__(
        self, model: BlipRetrieval, tokenizer: BlipTokenizer, image: PictureConfig, config: BlipObjective, colours: ColourClassifier | None
    ) -> None:
        self.model, self.tokenizer, self.image, self.config, self.colours = model, tokenizer, image, config, colours

    @property
    def device(self) -> torch.device:
        return self.model.temp.device

    def pixels(self, picture: bytes, where: str) -> np.ndarray:
        side = self.model.config.vision_config.image_size
        decoded = decode(picture, Size(side, side), where, self.image.square)
        return normalised(paste(decoded, self.colours.colour(decoded) if self.colours else None), self.image)

    @torch.no_grad()
    def embed_images(self, pixels: Tensor) -> ImageFeatures:
        return ImageFeatures(*self.model.encode_image(pixels.to(self.device)))

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> TextFeatures:
        ids, mask = (t.to(self.device) for t in self.tokenizer(texts, self.config.max_tokens, self.config.max_words))
        feat = torch.cat([self.model.encode_text(i, m) for i, m in zip(ids.split(256), mask.split(256), strict=True)])
        return TextFeatures(ids, mask, feat)

    @torch.no_grad()
    def match(self, texts: TextFeatures, rows: Tensor, image_embeds: Tensor) -> Tensor:
        return self.model.match_logits(texts.embeds[rows], texts.mask[rows], image_embeds, self.tokenizer.encode_id)[:, 1].float()

    def fuse(self, similarity: Tensor, top: Tensor, scores: Tensor) -> Tensor:
        return (similarity - OUTSIDE).scatter(1, top, similarity.gather(1, top) + scores)


class BlipMethod:
    """Raises ConfigError for a colour patch without coloured vehicles, ContractError for weights that do not fit."""

    def __init__(self, config: BlipRecipe, lines: TrainingLines, device: torch.device) -> None:
        self.config, self.lines = config, lines
        self._device, self._chance = device, Chance(config.seed, rank_of(), device)
        torch.manual_seed(derive_seed(config.seed, "weights"))
        values, state, self.source, self.weights, vocab = _start(config)
        self.tokenizer = BlipTokenizer(vocab)
        self.model = BlipRetrieval(_blip_config(values, len(self.tokenizer)), queue_size(config, len(lines.records)))
        self._fill(state)
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
        return parameter_groups(self.model.named_parameters(), self.config.optim, by_name=False)

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
        self.ema.load(folder / TRAINING_STATE)
        self.load_weights(folder)

    def load_weights(self, folder: Path) -> None:
        load_whole(self.model, read_weights(folder), folder)

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


def open_blip_searcher(folder: Path, device: torch.device) -> BlipSearcher:
    values = read_config(folder, "blip")
    tokenizer = BlipTokenizer(folder / VOCAB_FILE)
    model = BlipRetrieval(_blip_config(values["blip"], len(tokenizer)), values["queue_size"])
    load_whole(model, read_weights(folder), folder)
    search = read_json(folder / METADATA_FILE).get("search", {})
    picture = build(PictureConfig, search.get("picture", {}), str(folder / METADATA_FILE))
    objective = build(BlipObjective, search.get("objective", {}), str(folder / METADATA_FILE))
    return BlipSearcher(model.to(device).eval(), tokenizer, picture, objective, load_colours(folder))


def _start(config: BlipRecipe) -> tuple[dict[str, Any], dict[str, Tensor], str, str, Path]:
    """BLIP's config, state, what to tell, digest, vocabulary file."""
    init = config.init
    if init.checkpoint:
        folder = resolve(find_checkpoint(Path(init.checkpoint)))
        values = read_config(folder, "blip")
        return values["blip"], read_weights(folder), str(folder), sha256_file(folder / MODEL_FILE), folder / VOCAB_FILE
    if init.weights:
        folder, file = Path(init.weights), weight_file(Path(init.weights))
        if not (folder / VOCAB_FILE).is_file():
            raise ConfigError(
                f"init.weights={folder} holds no {VOCAB_FILE}; give a folder in transformers' layout of BLIP image-text retrieval"
            )
        return read_json(folder / "config.json"), read_state(file), str(folder), sha256_file(file), folder / VOCAB_FILE
    if config.model.config is None:
        raise ConfigError("model.config is missing: give init.weights, or the architecture to train from random weights")
    vision = {"initializer_range": START_STD} | config.model.config.get("vision_config", {})
    return config.model.config | {"vision_config": vision}, {}, "random weights", "random", resolve_vocab(config.objective.vocab)


def _blip_config(values: Mapping[str, Any], vocab_size: int) -> Any:
    from transformers import BlipConfig

    try:
        blip = BlipConfig(**dict(values))
    except (TypeError, ValueError) as err:
        raise ContractError(f"model.config is no BlipConfig of transformers: {err}") from err
    blip.text_config.vocab_size = vocab_size
    blip.text_config.encoder_hidden_size = blip.vision_config.hidden_size
    blip.text_config.is_decoder = True  # gives the text tower its cross-attention
    return blip
