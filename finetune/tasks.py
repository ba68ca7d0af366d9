"""What a validation or test asks of a model: retrieval with captions, or attributes where there are none (PA-100K)."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from finetune.config import DataConfig, EvalConfig
from finetune.datasets.catalog import data_set
from finetune.datasets.lines import check_files
from finetune.datasets.records import Record
from finetune.datasets.retrieval_split import RetrievalSplit, read_testing, read_validation
from finetune.expansion import expanded_scores
from finetune.methods.base import Searcher, embed, rank
from finetune.scores import measure
from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.errors import ConfigError, ContractError
from pretrain.pictures import read_picture
from pretrain.retrieval.attributes import attribute_metrics, balanced_accuracies, predicted_labels
from pretrain.retrieval.encode import ImageFeatures
from pretrain.retrieval.gallery import TEXT_BATCH, Gallery
from pretrain.retrieval.metrics import check_scores

Scores = dict[str, dict[str, float]]


class Task(Protocol):
    """A split to be scored on."""

    def run(self, searcher: Searcher, config: EvalConfig) -> Scores:
        """group -> score -> fraction; the group "all" holds the score that may choose a checkpoint."""
        ...

    @property
    def sizes(self) -> dict[str, int]:
        """What the scores are of: the number of "queries", where there are any, and of "pictures" that they are searched in."""
        ...


@dataclass(frozen=True, slots=True)
class RetrievalTask:
    """Queries against the gallery of a split with answers."""

    split: RetrievalSplit
    workers: int = 0  # threads that read pictures; 0: the one that asks for them

    def run(self, searcher: Searcher, config: EvalConfig) -> Scores:
        return measure(self.split, rank_split(searcher, self.split, config, self.workers))

    @property
    def sizes(self) -> dict[str, int]:
        searched = {column for rows, columns in self.split.routes.values() if rows for column in columns}
        return {"queries": len(self.split.queries), "pictures": len(searched)}


@dataclass(frozen=True, slots=True)
class AttributeTask:
    """Which prompt of each pair the matching head prefers, by PA-100K's protocol. A score that is not defined is left out."""

    folder: Path
    records: tuple[Record, ...]
    space: AttributeSpace
    workers: int = 0

    def run(self, searcher: Searcher, config: EvalConfig) -> Scores:
        if not searcher.has_matching:
            raise ConfigError("attributes are recognised by a matching head, and this method has none; use method: aptm")
        searcher.model.eval()
        prompts = searcher.embed_texts(self.space.prompts)
        names, rows = [record.image for record in self.records], []
        for pixels in pixel_batches(searcher, self.folder, names, config.batch_size, self.workers):
            embeds = searcher.embed_images(pixels).embeds
            count, pairs = len(self.space.prompts), len(embeds) * len(self.space.prompts)
            scores = searcher.match(prompts, torch.arange(count).repeat(len(embeds)), embeds.repeat_interleave(count, 0))
            assert len(scores) == pairs
            rows.append(scores.view(len(embeds), count).cpu().numpy())
        labels = np.array([record.labels for record in self.records])
        predicted = predicted_labels(np.concatenate(rows))
        # The published mean is NaN where an attribute has one class only; over the others it can still choose a checkpoint. Precision is
        # not defined where nothing is predicted of a picture, and JSON has no NaN.
        defined = {name: value for name, value in attribute_metrics(predicted, labels).items() if not np.isnan(value)}
        return {"all": {**defined, "mean_accuracy": float(np.nanmean(balanced_accuracies(predicted, labels)))}}

    @property
    def sizes(self) -> dict[str, int]:
        return {"pictures": len(self.records)}


def validation_task(data: DataConfig) -> Task:
    """On what is held out for validation."""
    return _attributes(data, "val") if data.name == "pa-100k" else RetrievalTask(read_validation(data), data.workers)


def test_task(data: DataConfig) -> Task | None:
    """None where the answers are not known."""
    if data.name == "pa-100k":
        return _attributes(data, "test")
    split = read_testing(data)
    return None if split is None else RetrievalTask(split, data.workers)


def rank_split(searcher: Searcher, split: RetrievalSplit, config: EvalConfig, workers: int = 0) -> np.ndarray:
    """(Q, G) float32 scores, higher is better; -inf for pictures of the other kind. Puts the model into eval mode and leaves it there.

    Equal texts are ranked once, so equally. workers: threads that read pictures. Memory: two such matrices, and `eval.memory_mb` for what
    the matching head sees of texts and pictures. Raises ContractError if a score is NaN or +inf.
    """
    searcher.model.eval()
    found = []
    for rows, columns in split.routes.values():
        if rows and columns:
            texts = list(dict.fromkeys(split.queries[row] for row in rows))
            names = [split.gallery[column] for column in columns]
            ranked = _ranked(searcher, texts, split.folder, names, config, workers)
            check_scores(ranked, texts)
            found.append((rows, columns, dict(zip(texts, ranked, strict=True))))
    scores = np.full((len(split.queries), len(split.gallery)), -np.inf, np.float32)
    for rows, columns, of_text in found:
        for row in rows:
            scores[row, columns] = of_text[split.queries[row]]
    return scores


def _ranked(searcher: Searcher, texts: Sequence[str], folder: Path, names: Sequence[str], config: EvalConfig, workers: int) -> np.ndarray:
    """(texts, pictures) scores."""
    room = config.memory_mb * 2**20
    one = max(1, searcher.embed_texts([max(texts, key=len)]).embeds.nbytes)
    at_once = min(len(texts), max(TEXT_BATCH, room // 2 // one))
    gallery = gallery_of(searcher, folder, names, config, room - at_once * one, workers)
    images = gallery.features()
    ranked = rank(searcher, texts, gallery, images, config.shortlist, at_once).float().cpu().numpy()
    if config.expand and not searcher.has_matching:
        return expanded_scores(ranked, images.float().cpu().numpy(), config.expand)
    return ranked


def rerank_cost(searcher: Searcher, split: RetrievalSplit, config: EvalConfig) -> dict[str, float]:
    """Milliseconds per query with and without the matching head, features of the gallery being there, and the length of the shortlist."""
    rows, columns = max(split.routes.values(), key=lambda route: len(route[0]))
    names = [split.gallery[column] for column in columns]
    gallery = gallery_of(searcher, split.folder, names, config)
    images = gallery.features()
    some = [split.queries[row] for row in rows[:32]]
    searcher.embed_texts(some)  # the first time takes longer
    began = _now(images.device)
    similarity = searcher.embed_texts(some).feat @ images.T
    plain = _now(images.device) - began
    whole = plain
    if searcher.has_matching:
        began = _now(images.device)
        rank(searcher, some, gallery, images, config.shortlist, len(some))
        whole = _now(images.device) - began
    width = min(config.shortlist, similarity.shape[1]) if searcher.has_matching else 0
    per_query = 1000 / len(some)
    return {"cosine_ms": plain * per_query, "reranked_ms": whole * per_query, "shortlist": width, "gallery": len(names)}


def _now(device: torch.device) -> float:
    """Seconds, once the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def gallery_of(
    searcher: Searcher, folder: Path, names: Sequence[str], config: EvalConfig, memory: int | None = None, workers: int = 0
) -> Gallery:
    """What the matching head looks at is held while it fits into `memory` bytes (default: `eval.memory_mb`), else computed again."""

    def encode(tile: range) -> ImageFeatures:
        return embed(searcher, _pixels(searcher, [folder / name for name in names[tile.start : tile.stop]], workers), config.flip)

    room = config.memory_mb * 2**20 if memory is None else memory
    return Gallery(encode, len(names), config.batch_size, room, shared=False)


def pixel_batches(searcher: Searcher, folder: Path, names: Sequence[str], size: int, workers: int) -> Iterator[Tensor]:
    """(B, 3, H, W) of `size` pictures of the folder at a time. Raises ContractError naming one that cannot be read."""
    for start in range(0, len(names), size):
        yield _pixels(searcher, [folder / name for name in names[start : start + size]], workers)


def _pixels(searcher: Searcher, paths: Sequence[Path], workers: int) -> Tensor:
    """Threads suffice: Pillow decodes and resizes outside the interpreter's lock."""

    def read(path: Path) -> np.ndarray:
        return searcher.pixels(read_picture(path), str(path))

    if workers:
        with ThreadPoolExecutor(workers) as pool:
            return torch.from_numpy(np.stack(list(pool.map(read, paths))))
    return torch.from_numpy(np.stack([read(path) for path in paths]))


def _attributes(data: DataConfig, name: str) -> AttributeTask:
    split = data_set(data.name).read(Path(data.folder), name)
    assert split.space is not None, "PA-100K has attributes"
    labels = np.array([record.labels for record in split.records])
    if np.isnan(balanced_accuracies(labels, labels)).all():
        raise ContractError(
            f"{split.source}: no attribute of split {name} is 1 of some pictures and 0 of others ({len(labels)} pictures), so "
            f"mean_accuracy is not defined; name pictures of both"
        )
    check_files(split.images, [record.image for record in split.records], split.source)
    return AttributeTask(split.images, split.records, split.space, data.workers)
