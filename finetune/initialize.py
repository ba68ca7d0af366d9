"""The model before the first step: a pre-trained checkpoint, or random weights in the same architecture."""

from dataclasses import dataclass
from pathlib import Path

import torch

from finetune.best import find_checkpoint
from finetune.config import FinetuneConfig
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import sha256_file
from pipeline.seeds import derive_seed
from pretrain.checkpoint import MODEL_FILE, load_model, resolve
from pretrain.models.aptm import APTM
from pretrain.tokenizer import CaptionTokenizer, resolve_vocab


@dataclass(frozen=True, slots=True)
class Start:
    """source: what to tell the user; weights: sha256 of the file they came from, "random" without one."""

    model: APTM
    tokenizer: CaptionTokenizer
    source: str
    weights: str


def start_model(config: FinetuneConfig) -> Start:
    """Raises ConfigError if there is no such checkpoint, if its architecture is not `model`, or if texts are longer than it can read."""
    start = _from_checkpoint(config, config.init.checkpoint) if config.init.checkpoint else _random(config)
    longest = start.model.config.text.max_positions
    if config.text.max_tokens > longest:
        raise ConfigError(f"text.max_tokens={config.text.max_tokens}, but the model reads at most {longest} tokens; lower it")
    return start


def _from_checkpoint(config: FinetuneConfig, name: str) -> Start:
    folder = resolve(find_checkpoint(Path(name)))
    loaded = load_model(folder)
    if config.model and config.model.with_vocab(len(loaded.tokenizer)) != loaded.config:
        raise ConfigError(f"model differs from the architecture of init.checkpoint={name}; leave `model` out, or give another checkpoint")
    return Start(loaded.model, loaded.tokenizer, f"{folder}: {loaded.report.summary()}", sha256_file(folder / MODEL_FILE))


def _random(config: FinetuneConfig) -> Start:
    assert config.model is not None, "FinetuneConfig refuses this"
    tokenizer = CaptionTokenizer(resolve_vocab(config.text.vocab))
    torch.manual_seed(derive_seed(config.seed, "weights"))
    return Start(APTM(config.model.with_vocab(len(tokenizer))), tokenizer, "random weights", "random")
