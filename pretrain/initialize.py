"""Weights before the first step: a checkpoint of ours, or Swin and BERT weights as APTM's pre-training starts from."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.contracts.errors import ConfigError, ContractError, StageError, first_line
from pretrain import checkpoint
from pretrain.config import InitConfig
from pretrain.huggingface import original_bert, original_swin
from pretrain.models.aptm import APTM
from pretrain.models.layout import COMPUTED, KeyReport, load_published, load_whole
from pretrain.models.relative_bias import resize_bias_table
from pretrain.tokenizer import CaptionTokenizer

_BIAS_TABLE = "relative_position_bias_table"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def initialise(model: APTM, tokenizer: CaptionTokenizer, config: InitConfig) -> dict[str, KeyReport]:
    """Fill the model; returns a key report per source. Raises ConfigError or ContractError for a file that does not fit."""
    reports = {}
    if config.checkpoint:
        reports["checkpoint"] = load_checkpoint(model, tokenizer, Path(config.checkpoint))
    if config.swin:
        state = adapt_swin(read_weights(Path(config.swin), "init.swin"), model)
        reports["swin"] = _only(load_published(model, state, config.swin), "vision_encoder.", config.swin)
    if config.bert:
        state = adapt_bert(read_weights(Path(config.bert), "init.bert"))
        reports["bert"] = _only(load_published(model, state, config.bert), "text_encoder.", config.bert)
    return reports


def load_checkpoint(model: APTM, tokenizer: CaptionTokenizer, path: Path) -> KeyReport:
    """A checkpoint folder of ours, or a file in the published layout (.pth, .safetensors).

    Raises ContractError if a key is missing, or the folder has another vocabulary.
    """
    if path.is_file():
        return load_whole(model, published_names(read_weights(path, "init.checkpoint")), f"init.checkpoint={path}")
    folder = checkpoint.resolve(path)
    checkpoint.check_vocabulary(folder, tokenizer)
    return load_whole(model, checkpoint.read_weights(folder), f"init.checkpoint={path}")


def published_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Files saved from a model without MLM head lack `bert.` in the names of the text encoder; the research code adds it when it loads."""
    short = "text_encoder."
    return {
        name.replace(short, f"{short}bert.") if short in name and "bert." not in name and "cls" not in name else name: tensor
        for name, tensor in state.items()
    }


def read_weights(path: Path, field: str) -> dict[str, Tensor]:
    """A state dict from .safetensors or a torch pickle, which is opened without running code; a `model` entry is unwrapped.

    A folder means the file that `transformers` saves there.
    """
    if path.is_dir():
        found = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
        if not found:
            raise ConfigError(f"{field}={path} holds no {' or '.join(WEIGHT_FILES)}; give a file, or a folder that transformers saved")
        path = found[0]
    try:
        checkpoint.check_opens(path, f"{field}={path}")
        state: dict[str, Any] = (
            load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)
        )
    except FileNotFoundError as err:
        raise ConfigError(f"{field}={path} does not exist") from err
    except StageError:
        raise
    except Exception as err:  # torch and safetensors raise a dozen kinds for a file that is not theirs
        raise ContractError(f"{field}={path} is no readable weight file ({type(err).__name__}: {first_line(err)})") from err
    if not isinstance(state, Mapping):
        raise ContractError(f"{field}={path} holds a {type(state).__name__}; accepted: a state dict, or one under the key 'model'")
    state = state.get("model", state)
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def adapt_swin(state: Mapping[str, Tensor], model: APTM) -> dict[str, Tensor]:
    """Swin classifier weights under our names: computed buffers left out, bias tables resized to the windows of the model."""
    adapted = {}
    vision = model.config.vision
    for name, tensor in original_swin(state).items():
        if name.endswith(COMPUTED):
            continue
        if name.endswith(_BIAS_TABLE):
            window, _ = vision.window(int(name.split(".")[1]))
            tensor = torch.from_numpy(resize_bias_table(tensor.float().numpy(), window))
        adapted[f"vision_encoder.{name}"] = tensor
    return adapted


def adapt_bert(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A BERT masked-LM under our names; old files call LayerNorm's tensors gamma and beta."""
    modern = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    adapted = {}
    for name, tensor in original_bert(state).items():
        for old, new in modern.items():
            name = name.replace(old, new)
        adapted[f"text_encoder.{name}"] = tensor
    return adapted


def _only(report: KeyReport, prefix: str, where: str) -> KeyReport:
    """The report as far as it concerns one encoder. Raises ContractError if nothing fitted."""
    if not report.loaded:
        raise ContractError(f"{where}: no tensor has a name of {prefix.removesuffix('.')}; found {', '.join(report.unexpected[:3])} …")
    return KeyReport(report.loaded, tuple(name for name in report.missing if name.startswith(prefix)), report.unexpected)
