"""Samples to batches: decode, augment, tokenise. What a sample becomes depends on (seed, epoch, key) alone, never on rank or worker."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import Sample, SampleMeta
from pipeline.seeds import derive_seed
from pretrain.augment import train_pixels
from pretrain.captions import pre_caption
from pretrain.config import DataConfig, PretrainConfig, TextsConfig
from pretrain.labelling import Labelling, labelling
from pretrain.loading import load
from pretrain.mixture import Samples
from pretrain.models.settings import VisionConfig
from pretrain.objective import Texts
from pretrain.order import Order, Place, RankBatches
from pretrain.pictures import decode_resized
from pretrain.tokenizer import CaptionTokenizer

SET_STRIDE = 2**48  # between the identities of two shard sets
_LINT = "run `passerby lint` on the run to find all such samples"


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

    def __init__(self, reader: Samples, vision: VisionConfig, limit_mb: int) -> None:
        self._reader, self._vision = reader, vision
        self._room = limit_mb * 2**20
        self._kept: dict[int, tuple[np.ndarray, SampleMeta]] = {}
        self._fetched: dict[int, Sample] = {}

    def prefetch(self, numbers: Iterable[int]) -> None:
        """Read these samples from a remote store together, to be asked for next. Nothing to gain from a folder."""
        if self._reader.is_remote:
            wanted = [number for number in dict.fromkeys(numbers) if number not in self._kept]
            self._fetched = dict(zip(wanted, self._reader.read_many(wanted), strict=True))

    def get(self, number: int) -> tuple[np.ndarray, SampleMeta]:
        """(H, W, 3) uint8 of the model's size, and what is known of the sample."""
        if number in self._kept:
            return self._kept[number]
        sample = self._fetched.pop(number, None) or self._reader.read(number)
        picture = decode_resized(sample.image, self._vision.height, self._vision.width, self._reader.where(number))
        if self._room >= picture.nbytes:
            self._room -= picture.nbytes
            self._kept[number] = picture, sample.meta
        return picture, sample.meta


class TrainingSet(Dataset[Example]):
    """Indexed by place: (epoch, sample number)."""

    def __init__(self, reader: Samples, config: PretrainConfig) -> None:
        self._config, self._reader = config, reader
        self._cache = PictureCache(reader, config.model.vision, config.data.cache_mb)
        self._labels = labelling(config.data.attributes, reader.attribute_space)

    def __getitems__(self, places: Sequence[Place]) -> list[Example]:
        """What a loader asks for: a batch."""
        self._cache.prefetch(number for _, number in places)
        return [self[place] for place in places]

    def __getitem__(self, place: Place) -> Example:
        epoch, number = place
        picture, meta = self._cache.get(number)
        chosen = self._reader.set_of(number)  # keys are unique within a set only
        rng = np.random.default_rng(derive_seed(self._config.seed, "sample", epoch, meta.key, *((chosen,) if chosen else ())))
        data = self._config.data
        caption = meta.caption if data.caption == "first" else rng.choice(meta.captions) if meta.captions else None
        text = caption_of(self._reader, number, caption, self._config.text)
        pixels = train_pixels(picture, self._config.image, rng)
        labels = labels_of(self._reader, number, meta, self._labels)
        return Example(meta.key, pixels, text, identity_of(self._reader, data, number, meta), labels)


def caption_of(reader: Samples, number: int, caption: object, config: TextsConfig) -> str:
    """As the tokeniser takes it. Raises ContractError naming the sample if there is no word in it."""
    try:
        if not isinstance(caption, str):
            raise ContractError(f"caption is {caption!r}; accepted: text")
        return pre_caption(str(caption), config.max_words, config.clean)
    except ContractError as err:
        raise ContractError(f"{reader.where(number)}: {err}; {_LINT}") from err


def identity_of(reader: Samples, data: DataConfig, number: int, meta: SampleMeta) -> int:
    """Equal for samples that are positives of each other. Persons of different shard sets are different, whatever their numbers.

    Raises ContractError naming the sample if its person has no usable number.
    """
    if data.identity == "image":
        return number
    bits = 63 if len(reader.sizes) == 1 else 48  # in a mixture the others number the set
    if type(meta.pid) is not int or abs(meta.pid) >= 2**bits:
        raise ContractError(f"{reader.where(number)}: pid is {meta.pid!r}; accepted: a whole number below 2**{bits}; {_LINT}")
    return meta.pid + reader.set_of(number) * SET_STRIDE


def labels_of(reader: Samples, number: int, meta: SampleMeta, labelling: Labelling) -> list[int]:
    """One of 0, 1, -1 for each attribute. Raises ContractError naming the sample if it has others."""
    labels, count = labelling.of(meta), len(labelling.space)
    if len(labels) != count or not all(type(label) is int and -1 <= label <= 1 for label in labels):
        raise ContractError(f"{reader.where(number)}: labels are {labels!r}; accepted: {count} of 0, 1 and -1 (not stated); {_LINT}")
    return labels


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
    reader: Samples, config: PretrainConfig, tokenizer: CaptionTokenizer, position: int, num_steps: int, rank: int, world_size: int
) -> Iterator[Batch]:
    """The batches of one rank from `position` (samples of the global stream that are done) on.

    Raises ConfigError if the global batch cannot be cut evenly over the ranks; the iterator raises what is wrong with a sample.
    """
    order = Order(config.seed, reader.sizes, reader.quotas)
    batches = RankBatches(order, config.train.global_batch, position, num_steps, rank, world_size)
    collate, pin_memory = Collate(str(tokenizer.vocab_file), config.text), torch.cuda.is_available() and config.engine.device != "cpu"
    return load(TrainingSet(reader, config), batches, config.data.workers, collate, pin_memory)


@functools.lru_cache(maxsize=1)
def _tokenizer(vocab_file: str) -> CaptionTokenizer:
    """One per process."""
    return CaptionTokenizer(Path(vocab_file))
