"""A folder of golden numbers of the challenge's systems: npz and JSON files, opened without running code."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json
from pretrain.parity.fixture import Check

FLOAT32, FLOAT64, LABELS_FLOAT32 = 2e-6, 1e-9, 5e-7
"""Relative tolerances: float32 sums in another order; doubles; doubles whose golden label matrix was float32."""


class Arrays(Mapping[str, Tensor]):
    """The arrays of one npz file. A missing key raises ContractError naming the file."""

    def __init__(self, path: Path) -> None:
        try:
            with np.load(path, allow_pickle=False) as data:
                self._arrays = {name: torch.from_numpy(np.array(data[name])) for name in data.files}
        except (OSError, ValueError, TypeError) as err:
            raise ContractError(f"{path} is no readable npz file: {err}") from err
        self.path = path

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._arrays:
            raise ContractError(f"{self.path} lacks {name}; this is no whole parity set of the challenge")
        return self._arrays[name]

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def __iter__(self):
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


class ChallengeFixture:
    """Reads the files of a folder when they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def arrays(self, name: str) -> Arrays:
        return Arrays(self.folder / name)

    def json(self, name: str) -> Any:
        return read_json(self.folder / name)

    @cached_property
    def losses(self) -> Arrays:
        return self.arrays("irra_losses.npz")


def relative(name: str, ours: Tensor | float, golden: Tensor | float, tolerance: float = FLOAT32) -> Check:
    """Largest difference divided by the largest golden magnitude, or by 1 if that is smaller; another shape is an infinite error."""
    one, other = torch.as_tensor(ours).detach().double(), torch.as_tensor(golden).double()
    if one.shape != other.shape:
        return Check(f"{name} (shape {list(one.shape)}, golden {list(other.shape)})", float("inf"), tolerance)
    if not other.numel():
        return Check(name, 0.0, tolerance)
    return Check(name, float((one - other).abs().max() / other.abs().max().clamp(min=1)), tolerance)
