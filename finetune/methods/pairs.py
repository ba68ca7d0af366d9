"""Training lines of the CLIP and BLIP recipes to batches. What a line becomes depends on (seed, epoch, line) alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from finetune.augment import train_pixels
from finetune.data import PictureFolder
from finetune.datasets.lines import Line, TrainingLines, numbered
from finetune.datasets.records import PEDESTRIAN
from finetune.methods.mining import HardBatches
from finetune.order import KindBatches
from finetune.recipes import BlipRecipe, ClipRecipe, IrraRecipe
from pipeline.contracts.challenge import BITS_21
from pipeline.contracts.challenge_sentences import mentioned
from pipeline.seeds import derive_seed
from pretrain.loading import load
from pretrain.order import Place


@dataclass(frozen=True, slots=True)
class Pair:
    """One line, ready to be batched. asked: the bits that the text itself names, where the data set has the challenge's."""

    key: str
    pixels: np.ndarray
    text: str
    identity: int
    labels: tuple[int, ...]
    asked: tuple[int, ...]
    seed: int
    picture: int  # number of the picture; its captions share it


@dataclass(frozen=True, slots=True)
class PairBatch:
    """image (B, 3, H, W); ids (B, L); masked and targets (B, L) or, for BLIP, mask (B, L) in place of masked; the rest (B, ...) int64.

    keys: of the B lines, for messages.
    """

    keys: tuple[str, ...]
    image: Tensor
    ids: Tensor
    masked: Tensor
    targets: Tensor
    identities: Tensor
    labels: Tensor
    asked: Tensor

    def with_identities(self, numbers: Sequence[int]) -> "PairBatch":
        return replace(self, identities=torch.tensor(list(numbers)))

    def to(self, device: torch.device) -> "PairBatch":
        return replace(self, **{name: getattr(self, name).to(device) for name in self.__slots__ if name != "keys"})


class PairSet(Dataset[Pair]):
    """Indexed by place: (epoch, line number)."""

    def __init__(
        self,
        lines: TrainingLines,
        config: IrraRecipe | ClipRecipe | BlipRecipe,
        size: tuple[int, int],
        text_of: Callable[[Line], str],
        colour_of: Callable[[Line, np.ndarray], str | None] | None = None,
    ) -> None:
        self._lines, self._config, self._classes = lines, config, lines.classes()
        self._numbers = numbered(line.image for line in lines.records)
        self._text_of, self._colour_of = text_of, colour_of
        self._bits = lines.space is BITS_21
        self._pictures = PictureFolder(lines.folder, Size(*size), config.data.cache_mb, config.image.square)

    def __getitem__(self, place: Place) -> Pair:
        epoch, number = place
        line = self._lines.records[number]
        seed = derive_seed(self._config.seed, "sample", epoch, line.key)
        picture = self._pictures.get(line.image)
        colour = self._colour_of(line, picture) if self._colour_of else None
        pixels = train_pixels(picture, self._config.image, np.random.default_rng(seed), colour)
        asked = tuple(int(value == 1) for value in mentioned(line.text)) if self._bits and line.kind == PEDESTRIAN else line.labels
        return Pair(line.key, pixels, self._text_of(line), self._classes[number], line.labels, asked, seed, self._numbers[number])


@dataclass(frozen=True, slots=True)
class Size:
    """Pixels."""

    height: int
    width: int


def pair_batches(
    pairs: PairSet,
    lines: TrainingLines,
    config: IrraRecipe | ClipRecipe | BlipRecipe,
    collate: Callable[[Sequence[Pair]], PairBatch],
    steps: tuple[int, int],
    rank: int,
    world: int,
) -> Iterator[PairBatch]:
    """The batches of one rank for `steps` = (first, how many). The iterator raises what is wrong with a line."""
    plain = KindBatches(config.seed, lines.records, config.train.global_batch, *steps, rank, world)
    mining = config.mining
    sampler = HardBatches(plain, lines.records, mining.share, mining.distance) if mining.share else plain
    return load(pairs, sampler, config.data.workers, collate)


def stack(pairs: Sequence[Pair], ids: Tensor, masked: Tensor, targets: Tensor) -> PairBatch:
    """A batch of pairs whose texts are tokenised."""
    image = torch.from_numpy(np.stack([pair.pixels for pair in pairs]))
    identities = torch.tensor([pair.identity for pair in pairs])
    labels, asked = (torch.tensor([getattr(pair, name) for pair in pairs], dtype=torch.int64) for name in ("labels", "asked"))
    return PairBatch(tuple(pair.key for pair in pairs), image, ids, masked, targets, identities, labels, asked)


def mask_rng(pair: Pair) -> Random:
    """What hides tokens of the pair's text: it follows from the pair's seed."""
    return Random(derive_seed(pair.seed, "mask"))
