"""A pre-trained checkpoint on held-out shards: how well sentences find pictures, and prompts attributes. No fine-tuning."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.config import changed_fields
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.sample import SampleMeta
from pretrain import checkpoint
from pretrain.augment import normalise
from pretrain.config import PretrainConfig
from pretrain.data import caption_of, identity_of, labels_of
from pretrain.distributed import gather_objects, sum_over_ranks
from pretrain.engine import pick_device
from pretrain.labelling import Labelling, labelling
from pretrain.mixture import Samples, open_gallery
from pretrain.models.aptm import APTM
from pretrain.models.settings import VisionConfig
from pretrain.pictures import decode_resized
from pretrain.retrieval.attributes import balanced_accuracies, predicted_labels, prompt_scores
from pretrain.retrieval.blocked import Ranking, shortlists
from pretrain.retrieval.encode import ImageFeatures, encode_images, encode_texts
from pretrain.retrieval.gallery import Gallery, shortlist_logits, text_features
from pretrain.retrieval.metrics import positives_of
from pretrain.tokenizer import CaptionTokenizer


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The samples of a split, without their pictures. labels (N, A)."""

    captions: list[str]
    identities: list[int]
    labels: np.ndarray


def evaluate(config: PretrainConfig, folder: Path) -> dict[str, dict[str, Any]]:
    """{"retrieval": metrics of the full protocol, "similarity": of ITC alone, "attributes": balanced accuracy by name, "data": counts}.

    Every held-out caption is a query, every held-out picture of the same person relevant. Fractions. Attributes that the split does not
    show in both states are left out; "mean" is over the others, None if there are none.
    """
    loaded = checkpoint.load_model(folder, pick_device(config.engine.device))
    check_inputs(config, loaded.metadata, folder)
    return score_split(config, loaded.model, loaded.tokenizer)


def check_inputs(config: PretrainConfig, metadata: Mapping[str, Any], folder: Path) -> None:
    """Raises ConfigError if the checkpoint was trained on other inputs than the config makes. Imported ones do not say on which."""
    if changed := changed_fields(metadata.get("inputs", config.inputs()), config.inputs()):
        found = ", ".join(f"{name} {change}" for name, change in changed.items())
        raise ConfigError(f"{folder} was trained on other inputs than this recipe makes ({found}); give the recipe of that training")


def score_split(config: PretrainConfig, model: APTM, tokenizer: CaptionTokenizer) -> dict[str, dict[str, Any]]:
    """The same of a model in eval mode. Every rank calls it and has the whole answer; the work is shared among them."""
    reader = open_gallery(config.data)
    return scores_of(config, reader, *rank_split(config, model, tokenizer, reader))


def scores_of(
    config: PretrainConfig, reader: Samples, ranking: Ranking, held_out: HeldOut, predicted: np.ndarray
) -> dict[str, dict[str, Any]]:
    """What `evaluate` returns, from what `rank_split` returns."""
    retrieval, similarity = ranking.metrics(positives_of(held_out.identities, held_out.identities))
    names = labelling(config.data.attributes, reader.attribute_space).space.names
    accuracies = balanced_accuracies(predicted, held_out.labels)
    named = {name: float(value) for name, value in zip(names, accuracies, strict=True) if not np.isnan(value)}
    return {
        "data": {"queries": len(reader), "gallery": len(reader), "persons": len(set(held_out.identities))},
        "retrieval": retrieval,
        "similarity": similarity,
        "attributes": {"mean": float(np.mean(list(named.values()))) if named else None, **named},
    }


def rank_split(config: PretrainConfig, model: APTM, tokenizer: CaptionTokenizer, reader: Samples) -> tuple[Ranking, HeldOut, np.ndarray]:
    """Every caption against every picture; beside it the labels (N, A) that prompts find. Memory: `eval.memory_mb` and 3 KB a sample."""
    reading = _Reading(config, model.config.vision, reader)
    prompts = encode_texts(model, tokenizer, reading.labels.space.prompts, None)
    memory = config.eval.memory_mb * 2**20 // 2
    gallery = Gallery(lambda tile: encode_images(model, [reading.pixels(tile)]), len(reader), config.eval.batch_size, memory)
    predicted = torch.zeros((len(reader), len(reading.labels.space)), dtype=torch.long)

    def look(tile: range, images: ImageFeatures) -> None:
        predicted[tile.start : tile.stop] = torch.from_numpy(predicted_labels(prompt_scores(model, prompts, images).cpu().numpy()))

    images = gallery.features(look)
    held_out = reading.held_out()
    ids, mask = tokenizer(held_out.captions, config.text.max_tokens, "longest")
    texts = text_features(model, ids, mask)
    found = shortlists(texts, images, config.eval.shortlist)
    logits = shortlist_logits(model, ids, mask, gallery, found.top, memory)
    ranking = Ranking(texts, images, found, logits, config.eval.published_processes)
    return ranking, held_out, sum_over_ranks(predicted.to(images.device)).cpu().numpy()


@dataclass(slots=True)
class _Reading:
    """Reads the samples of a split a tile at a time. What is small stays: texts, persons, labels; pictures go on as pixels."""

    config: PretrainConfig
    vision: VisionConfig
    reader: Samples
    labels: Labelling = field(init=False)
    _rows: dict[int, tuple[str, int, list[int]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.labels = labelling(self.config.data.attributes, self.reader.attribute_space)

    def pixels(self, numbers: Sequence[int]) -> Tensor:
        """(B, 3, H, W) without augmentation."""
        vision, pictures = self.vision, []
        for number, sample in zip(numbers, self.reader.read_many(numbers), strict=True):
            self._rows[number] = self._row(number, sample.meta)
            picture = decode_resized(sample.image, vision.height, vision.width, self.reader.where(number))
            pictures.append(normalise(picture, self.config.image.mean, self.config.image.std))
        return torch.from_numpy(np.stack(pictures))

    def _row(self, number: int, meta: SampleMeta) -> tuple[str, int, list[int]]:
        caption = caption_of(self.reader, number, meta.caption, self.config.text)
        return caption, identity_of(self.reader, self.config.data, number, meta), labels_of(self.reader, number, meta, self.labels)

    def held_out(self) -> HeldOut:
        """Of all samples, in their order, once the ranks have read their tiles; every rank calls it."""
        rows = {number: row for part in gather_objects(self._rows) for number, row in part.items()}
        captions, identities, stated = zip(*(rows[number] for number in range(len(self.reader))), strict=True)
        return HeldOut(list(captions), list(identities), np.array(stated))
