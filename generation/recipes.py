"""CONFIG or RUN on a command line -> the config of a run."""

from collections.abc import Sequence
from pathlib import Path

from generation.config import GenerationConfig
from pipeline.config import load
from pipeline.contracts.errors import ConfigError
from pipeline.paths import of_run


def load_recipe(source: Path, overrides: Sequence[str]) -> GenerationConfig:
    """A run folder and its config.yaml mean the run in that folder, wherever it lies now. Raises ConfigError if there is no such file."""
    return load(GenerationConfig, *of_run(source, overrides))


def load_started(source: Path) -> GenerationConfig:
    """The config of a run as it was started: source is the run's folder."""
    if not source.is_dir():
        raise ConfigError(
            f"{source} {'is no folder' if source.exists() else 'does not exist'}; accepted: the folder of a run that was started"
        )
    return load_recipe(source, ())
