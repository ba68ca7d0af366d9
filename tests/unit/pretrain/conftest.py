"""Shards that all tests of this folder read."""

from pathlib import Path

import pytest
import torch

from tests.unit.pretrain.samples import make_shards


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Tiny tensors gain nothing from threads, and bitwise comparisons want one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"))
