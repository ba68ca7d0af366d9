"""What tests of generation share."""

import os
from pathlib import Path

import pytest

from generation.config import GenerateConfig
from tests.unit.generation.tiny_diffusion import save_diffusion

# Tiny models compute nothing that two threads could share; on a busy machine their spinning costs minutes.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Stable Diffusion of random weights; not to be changed."""
    return save_diffusion(tmp_path_factory.mktemp("diffusion"))


@pytest.fixture(scope="session")
def tiny_config(tiny_folder: Path) -> GenerateConfig:
    return GenerateConfig(model=str(tiny_folder), device="cpu", steps=2, guidance=3.0)
