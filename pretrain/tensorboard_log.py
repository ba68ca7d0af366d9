"""Metrics as TensorBoard reads them, beside metrics.jsonl: `train.tensorboard: true`. The only importer of tensorboard."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ConfigError

FOLDER = "tensorboard"


def require_tensorboard() -> None:
    """Raises ConfigError where it is not installed; every rank asks, so that none waits for one that has left."""
    if find_spec("tensorboard") is None:
        raise ConfigError("train.tensorboard=true, but tensorboard is not installed; install the extra `tensorboard`, or set it to false")


class TensorBoardLog:
    """Scalars by the names of metrics.jsonl. A continued training hides the steps that will be made again."""

    def __init__(self, folder: Path, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_step + 1 if first_step else None)

    def write(self, line: Mapping[str, Any]) -> None:
        for name, value in line.items():
            if value is not None and name not in ("step", "num_steps"):  # MFU is null where the peak of the device is not known
                self._writer.add_scalar(name, value, line["step"])

    def close(self) -> None:
        self._writer.close()
