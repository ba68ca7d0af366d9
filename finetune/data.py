"""Training lines to batches. What a line becomes depends on (seed, epoch, image name) alone, never on rank or worker."""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from finetune.augment import padded_square
from finetune.config import FinetuneConfig
from finetune.datasets.lines import TrainingLines
from finetune.order import KindBatches
from finetune.text_views import second_view
from pipeline.contracts.errors import ContractError
from pipeline.seeds import derive_seed
from pretrain.augment import train_pixels
from pretrain.captions import pre_caption
from pretrain.config import TextsConfig
from pretrain.loading import load
from pretrain.models.settings import VisionConfig
from pretrain.objective import Texts
from pretrain.order import Place
from pretrain.pictures import UNREADABLE, as_rgb, read_picture, reason, resized
from pretrain.tokenizer import CaptionTokenizer


@dataclass(frozen=True, slots=True)
class Batch:
    """image (B, 3, H, W) float32; texts and (or None) second, the two views of the captions; identities (B,) and labels (B, A) int64.

    keys: of the B lines, for messages.
    """

    keys: tuple[str, ...]
    image: Tensor
    texts: Texts
    second: Texts | None
    identities: Tensor
    labels: Tensor

    def to(self, device: torch.device) -> "Batch":
        texts, second = self.texts.to(device), self.second and self.second.to(device)
        image, identities, labels = (part.to(device) for part in (self.image, self.identities, self.labels))
        return replace(self, image=image, texts=texts, second=second, identities=identities, labels=labels)


@dataclass(frozen=True, slots=True)
class Example:
    """One line, ready to be batched."""

    key: str
    pixels: np.ndarray
    caption: str
    second: str | None
    identity: int
    labels: tuple[int, ...]


class Sized2d(Protocol):
    """Pixels of a model's pictures."""

    @property
    def height(self) -> int: ...

    @property
    def width(self) -> int: ...


def decode(data: bytes, size: Sized2d, where: str, square: bool = False) -> np.ndarray:
    """Encoded picture -> (H, W, 3) uint8 of the model's size. Raises ContractError naming `where` if the bytes are no whole picture."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            shown = as_rgb(image)
            return resized(Image.fromarray(padded_square(np.asarray(shown))) if square else shown, size.height, size.width)
    except UNREADABLE as err:
        raise ContractError(f"{where}: not a readable picture ({reason(err)}); put a whole one there, or leave it out") from err


class PictureFolder:
    """Pictures of a folder, resized; kept in memory until the allowance is used up."""

    def __init__(self, folder: Path, size: "Sized2d", limit_mb: int = 0, square: bool = False) -> None:
        """square: pad with black to a square first."""
        self._folder, self._size, self._square = folder, size, square
        self._room = limit_mb * 2**20
        self._kept: dict[str, np.ndarray] = {}

    def get(self, name: str) -> np.ndarray:
        """(H, W, 3) uint8 of the model's size. Raises ContractError if there is no such readable picture."""
        if name in self._kept:
            return self._kept[name]
        path = self._folder / name
        picture = decode(read_picture(path), self._size, str(path), self._square)
        if self._room >= picture.nbytes:
            self._room -= picture.nbytes
            self._kept[name] = picture
        return picture


def check_captions(captions: Iterable[tuple[str, str]], config: TextsConfig, where: Path) -> None:
    """captions: (name, text). Raises ContractError naming the first of which nothing is left, before its batch comes."""
    for name, text in captions:
        try:
            pre_caption(text, config.max_words, config.clean)
        except ContractError as err:
            raise ContractError(f"{where}: {name}: {err}; set text.clean=false, or leave it out") from err


class TrainingSet(Dataset[Example]):
    """Indexed by place: (epoch, line number)."""

    def __init__(self, lines: TrainingLines, config: FinetuneConfig, vision: VisionConfig) -> None:
        self._lines, self._config, self._classes = lines, config, lines.classes()
        self._pictures = PictureFolder(lines.folder, vision, config.data.cache_mb)

    def __getitem__(self, place: Place) -> Example:
        epoch, number = place
        record, text = self._lines.records[number], self._config.text
        seed = derive_seed(self._config.seed, "sample", epoch, record.key)
        pixels = train_pixels(self._pictures.get(record.image), self._config.image, np.random.default_rng(seed))
        caption = pre_caption(record.text, text.max_words, text.clean) if record.text else ""
        second = second_view(caption, Random(seed)) if record.text and self._config.objective.second_view else None
        return Example(record.key, pixels, caption, second, self._classes[number], record.labels)


@dataclass(frozen=True, slots=True)
class Collate:
    """Examples to a batch. A class, because loader processes receive a pickled copy."""

    vocab_file: str
    config: TextsConfig

    def __call__(self, examples: Sequence[Example]) -> Batch:
        seconds = [e.second for e in examples if e.second is not None]
        return Batch(
            tuple(e.key for e in examples),
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
    steps: tuple[int, int],
    rank: int,
    world: int,
) -> Iterator[Batch]:
    """The batches of one rank for `steps` = (first, how many); see `finetune.order`. The iterator raises what is wrong with a line."""
    batches = KindBatches(config.seed, lines.records, config.train.global_batch, *steps, rank, world)
    return load(TrainingSet(lines, config, vision), batches, config.data.workers, Collate(str(vocab_file), config.text))


@lru_cache(maxsize=1)
def _tokenizer(vocab_file: str) -> CaptionTokenizer:
    """One per process."""
    return CaptionTokenizer(Path(vocab_file))
