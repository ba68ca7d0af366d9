"""Where a BLIP comes from: a checkpoint of ours, a folder in transformers' layout, or random weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from finetune.best import find_checkpoint
from finetune.methods.files import read_config
from finetune.models.blip_tokenizer import BlipTokenizer
from finetune.models.clip_weights import read_state, weight_file
from finetune.recipes import BlipRecipe
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import read_json, sha256_file
from pretrain.checkpoint import MODEL_FILE, needed, read_weights, resolve
from pretrain.tokenizer import VOCAB_FILE, resolve_vocab

START_STD = 0.02  # of random weights: transformers' default for BLIP's vision tower is 1e-10, all pictures alike and gradients of 1e10


@dataclass(frozen=True, slots=True)
class BlipStart:
    """config: of transformers' BlipConfig. source: what to tell the user; weights: sha256 of their file, "random" without one."""

    config: dict[str, Any]
    state: dict[str, Tensor]
    source: str
    weights: str
    tokenizer: BlipTokenizer


def start_blip(config: BlipRecipe) -> BlipStart:
    """Raises ConfigError if there is nothing to start from, or no vocabulary beside published weights."""
    init = config.init
    if init.checkpoint:
        folder = resolve(find_checkpoint(Path(init.checkpoint)))
        values = read_config(folder, "blip")
        return BlipStart(values["blip"], read_weights(folder), str(folder), sha256_file(folder / MODEL_FILE), saved_tokenizer(folder))
    if init.weights:
        folder, file = Path(init.weights), weight_file(Path(init.weights))
        if not (folder / VOCAB_FILE).is_file():
            raise ConfigError(
                f"init.weights={folder} holds no {VOCAB_FILE}; give a folder in transformers' layout of BLIP image-text retrieval"
            )
        return BlipStart(
            read_json(folder / "config.json"), read_state(file), str(folder), sha256_file(file), BlipTokenizer(folder / VOCAB_FILE)
        )
    if config.model.config is None:
        raise ConfigError("model.config is missing: give init.weights, or the architecture to train from random weights")
    vision = {"initializer_range": START_STD} | config.model.config.get("vision_config", {})
    values = config.model.config | {"vision_config": vision}
    tokenizer = BlipTokenizer(resolve_vocab(config.objective.vocab), "objective.vocab")
    return BlipStart(values, {}, "random weights", "random", tokenizer)


def saved_tokenizer(folder: Path) -> BlipTokenizer:
    """Of a checkpoint folder of ours. Raises ContractError if its file is absent or damaged."""
    with needed(folder / VOCAB_FILE) as path:
        return BlipTokenizer(path)


def blip_config(values: Mapping[str, Any], vocab_size: int) -> Any:
    """transformers' BlipConfig. Raises ContractError for fields that it does not know."""
    from transformers import BlipConfig

    try:
        blip = BlipConfig(**dict(values))
    except (TypeError, ValueError) as err:
        raise ContractError(f"model.config is no BlipConfig of transformers: {err}") from err
    blip.text_config.vocab_size = vocab_size
    blip.text_config.encoder_hidden_size = blip.vision_config.hidden_size
    blip.text_config.is_decoder = True  # gives the text tower its cross-attention
    return blip
