"""A vehicle's colour from its picture: logistic regression on colour histograms, trained on the coloured tags of the train split.

It takes the place of the 2021 detector of the challenge's winners. The patch on a validation or test picture always comes from here, never
from the label: their validation scores with patches knew the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import cv2
import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from finetune.datasets.lines import TrainingLines, tag_of
from finetune.datasets.records import VEHICLE
from pipeline.contracts.challenge import COLOURS, parse_tag
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import write_bytes
from pretrain.checkpoint import read_tensors

FILE = "colour.safetensors"
BINS = (12, 4, 4)  # hue, saturation, value
DECAY, ROUNDS = 1e-3, 60
SIDE_PX = 64


@dataclass(frozen=True, slots=True)
class ColourClassifier:
    """weight (F, 11), bias (11,), centre (F,) and spread (F,) of the features."""

    weight: Tensor
    bias: Tensor
    centre: Tensor
    spread: Tensor

    def probabilities(self, pictures: Sequence[np.ndarray]) -> Tensor:
        """(B, 11) in the order of COLOURS."""
        return _logits(self, torch.stack([colour_features(p) for p in pictures])).softmax(1)

    def colour(self, picture: np.ndarray) -> str:
        return COLOURS[int(self.probabilities([picture]).argmax())]

    def save(self, folder: Path) -> None:
        write_bytes(folder / FILE, save({name: getattr(self, name).contiguous() for name in self.__slots__}))


def load_colours(folder: Path) -> ColourClassifier | None:
    """The classifier that a checkpoint folder holds, None if there is none."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return ColourClassifier(**read_tensors(path))
    except TypeError as err:
        raise ContractError(f"{path} is no colour classifier ({err}); delete it and train again") from err


def train_colours(lines: TrainingLines, pictures: Sequence[np.ndarray], numbers: Sequence[int]) -> ColourClassifier:
    """Deterministic: L-BFGS on standardised features. pictures[i] shows the line numbers[i], which names a colour."""
    labels = torch.tensor([COLOURS.index(_colour(lines.records[number].identity)) for number in numbers])
    features = torch.stack([colour_features(picture) for picture in pictures])
    centre, spread = features.mean(0), features.std(0, unbiased=False).clamp(min=1e-3)
    weight, bias = torch.zeros(features.shape[1], len(COLOURS), requires_grad=True), torch.zeros(len(COLOURS), requires_grad=True)
    scaled = (features - centre) / spread
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=ROUNDS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(scaled @ weight + bias, labels) + DECAY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return ColourClassifier(weight.detach(), bias.detach(), centre, spread)


def coloured_lines(lines: TrainingLines, most: int = 20_000) -> list[int]:
    """Numbers of the vehicle lines whose tag names a colour, at most `most`, evenly spread. Raises ConfigError if there is none, or
    for a vehicle without a tag."""
    numbers = [i for i, line in enumerate(lines.records) if line.kind == VEHICLE and tag_of(line, "objective.colour_patch").colour]
    if not numbers:
        raise ConfigError("objective.colour_patch=true needs vehicle lines that name a colour; the train split has none")
    return numbers[:: ceil(len(numbers) / most)]


def tag_colour(identity: str) -> str | None:
    return parse_tag(identity).colour


def colour_features(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 RGB -> (2 x 12 x 4 x 4,) shares of the pixels by hue, saturation and value, whole picture and its middle."""
    small = cv2.resize(picture, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    hsv = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)
    border = SIDE_PX // 4
    parts = (hsv, np.ascontiguousarray(hsv[border:-border, border:-border]))
    histograms = [cv2.calcHist([part], [0, 1, 2], None, list(BINS), [0, 180, 0, 256, 0, 256]).ravel() / part[..., 0].size for part in parts]
    return torch.from_numpy(np.sqrt(np.concatenate(histograms)).astype(np.float32))


def _logits(model: ColourClassifier, features: Tensor) -> Tensor:
    return (features - model.centre) / model.spread @ model.weight + model.bias


def _colour(identity: str) -> str:
    colour = tag_colour(identity)
    assert colour is not None, "coloured_lines chose lines with a colour"
    return colour
