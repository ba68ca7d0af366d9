"""Samples to batches: decode, augment, tokenise. What a sample becomes depends on (seed, epoch, key) alone, never on rank or worker."""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.contracts.sample import SampleMeta
from pipeline.seeds import derive_seed
from pretrain.augment import normalise, train_pixels
from pretrain.captions import pre_caption
from pretrain.config import PretrainConfig, TextsConfig
from pretrain.labelling import labelling
from pretrain.models.settings import VisionConfig
from pretrain.objective import Texts
from pretrain.order import Place, RankBatches
from pretrain.pictures import decode_resized
from pretrain.shards import ShardReader
from pretrain.tokenizer import CaptionTokenizer


@dataclass(frozen=True, slots=True)
class Batch:
    """image (B, 3, H, W) float32; texts (B, L); identities (B,) and labels (B, A) int64; keys of the samples, where they are known."""

    image: Tensor
    texts: Texts
    identities: Tensor
    labels: Tensor
    keys: tuple[str, ...] = ()

    def to(self, device: torch.device) -> "Batch":
        """Pinned batches travel while the device still works on the one before."""
        send = functools.partial(Tensor.to, device=device, non_blocking=True)
        return Batch(send(self.image), self.texts.to(device), send(self.identities), send(self.labels), self.keys)

    def split(self, parts: int) -> "list[Batch]":
        """Equal consecutive parts."""
        if parts == 1:
            return [self]
        rows = torch.arange(len(self.image), device=self.image.device).chunk(parts)
        return [Batch(self.image[r], self.texts.at(r), self.identities[r], self.labels[r]) for r in rows]

    def pin_memory(self) -> "Batch":
        """Called by the loader."""
        return Batch(self.image.pin_memory(), self.texts.pin_memory(), self.identities.pin_memory(), self.labels.pin_memory(), self.keys)


@dataclass(frozen=True, slots=True)
class Example:
    """One sample, ready to be batched."""

    key: str
    pixels: np.ndarray
    caption: str
    identity: int
    labels: list[int]


class PictureCache:
    """Resized pictures and metas by sample number, until the memory allowed is used up; never evicts, so it never thrashes."""

    def __init__(self, reader: ShardReader, vision: VisionConfig, limit_mb: int) -> None:
        self._reader, self._vision = reader, vision
        self._room = limit_mb * 2**20
        self._kept: dict[int, tuple[np.ndarray, SampleMeta]] = {}

    def get(self, number: int) -> tuple[np.ndarray, SampleMeta]:
        """(H, W, 3) uint8 of the model's size, and what is known of the sample."""
        if number in self._kept:
            return self._kept[number]
        sample = self._reader.read(number)
        where = f"{self._reader.folder}, sample {sample.meta.key}"
        picture = decode_resized(sample.image, self._vision.height, self._vision.width, where)
        if self._room >= picture.nbytes:
            self._room -= picture.nbytes
            self._kept[number] = picture, sample.meta
        return picture, sample.meta


class TrainingSet(Dataset[Example]):
    """Indexed by place: (epoch, sample number)."""

    def __init__(self, reader: ShardReader, config: PretrainConfig) -> None:
        self._config = config
        self._cache = PictureCache(reader, config.model.vision, config.data.cache_mb)
        self._labels = labelling(config.data.attributes, reader.attribute_space)

    def __getitem__(self, place: Place) -> Example:
        epoch, number = place
        picture, meta = self._cache.get(number)
        rng = np.random.default_rng(derive_seed(self._config.seed, "sample", epoch, meta.key))
        data = self._config.data
        caption = meta.caption if data.caption == "first" else str(rng.choice(meta.captions))
        identity = meta.pid if data.identity == "pid" else number
        text = pre_caption(caption, self._config.text.max_words, self._config.text.clean)
        return Example(meta.key, train_pixels(picture, self._config.image, rng), text, identity, self._labels.of(meta))


@dataclass(frozen=True, slots=True)
class Collate:
    """Examples to a batch. A class, because loader processes receive a pickled copy."""

    vocab_file: str
    config: TextsConfig

    def __call__(self, examples: Sequence[Example]) -> Batch:
        ids, mask = _tokenizer(self.vocab_file)([e.caption for e in examples], self.config.max_tokens, self.config.pad)
        return Batch(
            torch.from_numpy(np.stack([e.pixels for e in examples])),
            Texts(ids, mask),
            torch.tensor([e.identity for e in examples]),
            torch.tensor([e.labels for e in examples]),
            tuple(e.key for e in examples),
        )


def train_batches(
    reader: ShardReader, config: PretrainConfig, tokenizer: CaptionTokenizer, position: int, num_steps: int, rank: int, world_size: int
) -> Iterator[Batch]:
    """The batches of one rank from `position` (samples of the global stream that are done) on.

    Raises ConfigError if the global batch cannot be cut evenly over the ranks.
    """
    batches = RankBatches(config.seed, len(reader), config.train.global_batch, position, num_steps, rank, world_size)
    loader = DataLoader(
        TrainingSet(reader, config),
        batch_sampler=batches,
        num_workers=config.data.workers,
        collate_fn=Collate(str(tokenizer.vocab_file), config.text),
        persistent_workers=config.data.workers > 0,
        pin_memory=torch.cuda.is_available() and config.engine.device != "cpu",
    )
    return iter(loader)


def evaluation_pixels(reader: ShardReader, config: PretrainConfig, batch_size: int) -> Iterator[Tensor]:
    """(B, 3, H, W) of every sample in order, without augmentation."""
    cache = PictureCache(reader, config.model.vision, 0)
    for start in range(0, len(reader), batch_size):
        numbers = range(start, min(start + batch_size, len(reader)))
        yield torch.from_numpy(np.stack([normalise(cache.get(number)[0], config.image) for number in numbers]))


@functools.lru_cache(maxsize=1)
def _tokenizer(vocab_file: str) -> CaptionTokenizer:
    """One per process."""
    return CaptionTokenizer(Path(vocab_file))
