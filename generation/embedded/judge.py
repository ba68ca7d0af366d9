"""A small classifier that reads garments off a picture: the judge of what the colour rule cannot see.

It never meets a generated picture in training, and no stage of the flow uses it.
"""

from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from generation.embedded.captioner import soften
from generation.embedded.corpus import Corpus
from generation.embedded.loop import LoopConfig, train
from pipeline.contracts.attributes import PERSON_27

QUESTIONS = ("gender", "hat", "backpack", "sleeve_length", "lower_length", "lower_type")
COLUMNS = [PERSON_27.names.index(name) for name in QUESTIONS]
SIZE, BATCH, STEPS = (64, 128), 48, 500  # cv2 order: width, height


def build() -> nn.Module:
    layers: list[nn.Module] = []
    for inputs, outputs in ((3, 32), (32, 64), (64, 96), (96, 128)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
        layers += [nn.Conv2d(outputs, outputs, 3, padding=1), nn.GroupNorm(8, outputs), nn.SiLU()]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 8 * 4, len(QUESTIONS)))


def prepare(images: list[np.ndarray]) -> Tensor:
    """RGB uint8 pictures of any size -> (B, 3, 128, 64) float32 around 0."""
    small = np.stack([cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA) for image in images])
    return (torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous()


def train_judge(corpus: Corpus, folder: Path, seed: int) -> nn.Module:
    labels = torch.tensor([[r["labels"][c] for c in COLUMNS] for r in corpus.records], dtype=torch.float32)
    torch.manual_seed(seed)
    model = build()

    def loss_of(step: int) -> Tensor:
        rng = np.random.default_rng((seed, 17, step))
        rows = rng.integers(len(corpus), size=BATCH)
        logits = model(prepare([soften(image, rng) for image in corpus.images(rows)])).float()
        return F.binary_cross_entropy_with_logits(logits, labels[torch.from_numpy(rows)])

    return train("judge", folder, model, LoopConfig(steps=STEPS, lr=2e-3, ema=0.99), loss_of)


@torch.no_grad()
def answers(model: nn.Module, images: list[np.ndarray]) -> np.ndarray:
    """(N, 6) labels 0 or 1 in the polarity of PERSON_27, columns in the order of QUESTIONS."""
    parts = [model(prepare(images[i : i + 64])) > 0 for i in range(0, len(images), 64)]
    return torch.cat(parts).int().numpy()
