"""Training lines to batches. What a line becomes depends on (seed, epoch, image name) alone, never on rank or worker."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from finetune.config import FinetuneConfig
from finetune.datasets.challenge import Pedestrian, Record, check_pictures, images_folder, labels_path, read_labels
from finetune.order import KindBatches
from finetune.text_views import second_view
from pipeline.contracts.attributes import MISSING
from pipeline.contracts.challenge import BITS_21
from pipeline.contracts.errors import ContractError
from pipeline.fileio import sha256_file
from pipeline.seeds import derive_seed
from pretrain.augment import train_pixels
from pretrain.captions import pre_caption
from pretrain.config import TextsConfig
from pretrain.models.settings import VisionConfig
from pretrain.objective import Texts
from pretrain.order import Place
from pretrain.pictures import decode_resized
from pretrain.tokenizer import CaptionTokenizer


@dataclass(frozen=True, slots=True)
class Batch:
    """image (B, 3, H, W) float32; texts and (or None) second, the two views of the captions; identities (B,) and labels (B, 21) int64."""

    image: Tensor
    texts: Texts
    second: Texts | None
    identities: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Batch":
        texts, second = self.texts.to(device), self.second and self.second.to(device)
        return Batch(self.image.to(device), texts, second, self.identities.to(device), self.labels.to(device))


@dataclass(frozen=True, slots=True)
class Example:
    """One line, ready to be batched."""

    pixels: np.ndarray
    caption: str
    second: str | None
    identity: int
    labels: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TrainingLines:
    """The lines of the train split. digest: of the label file; pictures are told apart by their names."""

    folder: Path
    records: tuple[Record, ...]
    digest: str

    @classmethod
    def read(cls, root: Path) -> "TrainingLines":
        """Raises ContractError for a bad label file, or if pictures that it names are missing."""
        path, folder = labels_path(root, "train"), images_folder(root, "train")
        records = tuple(read_labels(path))
        check_pictures(folder, [record.image for record in records], path)
        return cls(folder, records, sha256_file(path))

    def classes(self) -> list[int]:
        """A number per line; lines of one attribute vector or of one tag share it. Numbered in order of first appearance."""
        numbers: dict[str, int] = {}
        return [numbers.setdefault(record.identity, len(numbers)) for record in self.records]


class PictureFolder:
    """Pictures of a folder, resized; kept in memory until the allowance is used up."""

    def __init__(self, folder: Path, vision: VisionConfig, limit_mb: int = 0) -> None:
        self._folder, self._vision = folder, vision
        self._room = limit_mb * 2**20
        self._kept: dict[str, np.ndarray] = {}

    def get(self, name: str) -> np.ndarray:
        """(H, W, 3) uint8 of the model's size. Raises ContractError if there is no such readable picture."""
        if name in self._kept:
            return self._kept[name]
        path = self._folder / name
        try:
            data = path.read_bytes()
        except OSError as err:
            raise ContractError(f"{path} cannot be read: {err.strerror}") from err
        picture = decode_resized(data, self._vision.height, self._vision.width, str(path))
        if self._room >= picture.nbytes:
            self._room -= picture.nbytes
            self._kept[name] = picture
        return picture


class TrainingSet(Dataset[Example]):
    """Indexed by place: (epoch, line number)."""

    def __init__(self, lines: TrainingLines, config: FinetuneConfig, vision: VisionConfig) -> None:
        self._lines, self._config, self._classes = lines, config, lines.classes()
        self._pictures = PictureFolder(lines.folder, vision, config.data.cache_mb)

    def __getitem__(self, place: Place) -> Example:
        epoch, number = place
        record, text = self._lines.records[number], self._config.text
        seed = derive_seed(self._config.seed, "sample", epoch, record.image)
        pixels = train_pixels(self._pictures.get(record.image), self._config.image, np.random.default_rng(seed))
        caption = pre_caption(record.text, text.max_words, text.clean)
        labels = record.bits if isinstance(record, Pedestrian) else (MISSING,) * len(BITS_21)
        second = second_view(caption, Random(seed)) if self._config.objective.second_view else None
        return Example(pixels, caption, second, self._classes[number], labels)


@dataclass(frozen=True, slots=True)
class Collate:
    """Examples to a batch. A class, because loader processes receive a pickled copy."""

    vocab_file: str
    config: TextsConfig

    def __call__(self, examples: Sequence[Example]) -> Batch:
        seconds = [e.second for e in examples if e.second is not None]
        return Batch(
            torch.from_numpy(np.stack([e.pixels for e in examples])),
            self._texts([e.caption for e in examples]),
            self._texts(seconds) if seconds else None,
            torch.tensor([e.identity for e in examples]),
            torch.tensor([e.labels for e in examples]),
        )

    def _texts(self, captions: Sequence[str]) -> Texts:
        return Texts(*_tokenizer(self.vocab_file)(captions, self.config.max_tokens, self.config.pad))


def train_batches(
    lines: TrainingLines,
    config: FinetuneConfig,
    vision: VisionConfig,
    vocab_file: Path,
    first_step: int,
    num_steps: int,
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """The batches of one rank from `first_step` on; see `finetune.order`."""
    loader = DataLoader(
        TrainingSet(lines, config, vision),
        batch_sampler=KindBatches(config.seed, lines.records, config.train.global_batch, first_step, num_steps, rank, world),
        num_workers=config.data.workers,
        collate_fn=Collate(str(vocab_file), config.text),
        persistent_workers=config.data.workers > 0,
    )
    return iter(loader)


@lru_cache(maxsize=1)
def _tokenizer(vocab_file: str) -> CaptionTokenizer:
    """One per process."""
    return CaptionTokenizer(Path(vocab_file))
