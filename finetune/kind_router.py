"""Pedestrian or vehicle, from the picture alone: for galleries whose names tell nothing.

A logistic regression on a small picture (8x8 cells of saturation and edges) and the aspect ratio, trained on the train split's kinds.
It gives a probability, so that doubtful pictures can be searched for both kinds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from finetune.datasets.records import PEDESTRIAN, VEHICLE
from pipeline.contracts.errors import ConfigError

SIDE = 8
DECAY = 1e-2


@dataclass(frozen=True, slots=True)
class Route:
    """confidence: probability of `kind`, 0.5 to 1."""

    kind: str
    confidence: float


@dataclass(frozen=True, slots=True)
class KindRouter:
    """weight (F,), bias (1,), centre (F,), spread (F,)."""

    weight: Tensor
    bias: Tensor
    centre: Tensor
    spread: Tensor

    def routes(self, pictures: Sequence[np.ndarray]) -> list[Route]:
        """Pictures (H, W, 3) uint8 of any size, as they are on disk."""
        features = torch.stack([kind_features(picture) for picture in pictures])
        logits = (features - self.centre) / self.spread @ self.weight + self.bias
        return [_route(float(p)) for p in logits.sigmoid()]


def train_router(pictures: Sequence[np.ndarray], kinds: Sequence[str]) -> KindRouter:
    """Deterministic: L-BFGS, both kinds weigh the same. Raises ConfigError if a kind is missing."""
    vehicle = torch.tensor([float(kind == VEHICLE) for kind in kinds])
    if not 0 < vehicle.mean() < 1:
        raise ConfigError("a picture router is trained on pedestrians and vehicles; the train split has one kind only")
    features = torch.stack([kind_features(picture) for picture in pictures])
    centre, spread = features.mean(0), features.std(0, unbiased=False).clamp(min=1e-3)
    scaled = (features - centre) / spread
    weight, bias = torch.zeros(scaled.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    balance = torch.where(vehicle > 0, 0.5 / vehicle.mean(), 0.5 / (1 - vehicle.mean()))
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(scaled @ weight + bias, vehicle, balance)
        value = value + DECAY * weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    return KindRouter(weight.detach(), bias.detach(), centre, spread)


def kind_features(picture: np.ndarray) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3 x 64 + 1,)."""
    height, width = picture.shape[:2]
    small = cv2.resize(picture, (8 * SIDE, 8 * SIDE), interpolation=cv2.INTER_AREA)
    light = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    saturation = cv2.cvtColor(small, cv2.COLOR_RGB2HSV)[..., 1].astype(np.float32) / 255
    across, down = np.abs(cv2.Sobel(light, cv2.CV_32F, 1, 0)), np.abs(cv2.Sobel(light, cv2.CV_32F, 0, 1))
    cells = [cv2.resize(plane, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel() for plane in (saturation, across, down)]
    return torch.from_numpy(np.concatenate([*cells, [np.log(height / width)]]).astype(np.float32))


def _route(vehicle: float) -> Route:
    return Route(VEHICLE, vehicle) if vehicle >= 0.5 else Route(PEDESTRIAN, 1 - vehicle)
