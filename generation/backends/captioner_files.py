"""Which folder a captioner loads from, and of which family it is."""

import json
from pathlib import Path
from typing import Any

from generation.backends.model_files import find_model
from generation.config import BLIP_NEW_TOKENS, VLM_NEW_TOKENS, CaptionConfig
from pipeline.contracts.errors import ConfigError, first_line

_HUB_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors")


def local_folder(configured: str) -> str:
    """The folder of caption.model; a hub name is fetched first. Raises ConfigError for what is not there."""
    name, is_folder = find_model(configured, "caption.model", "captioner", "config.json")
    if is_folder:
        return name
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as err:  # many kinds: no such name, no network, no permission
        raise ConfigError(
            f"caption.model={configured!r} is no folder here, and fetching it from the model hub failed ({first_line(err)}); "
            "accepted: embedded, a folder in transformers layout, a name on the hub"
        ) from err


def model_type(folder: str) -> str:
    """`model_type` of the folder's config.json: "blip", "llava", "qwen2_vl" ...; "" where it names none."""
    try:
        config: Any = json.loads((Path(folder) / "config.json").read_bytes())
    except (OSError, ValueError) as err:
        raise ConfigError(f"caption.model: {folder}/config.json cannot be read ({err})") from err
    return str(config.get("model_type", "")) if isinstance(config, dict) else ""


def is_blip(folder: str) -> bool:
    """False: a vision-language model."""
    return model_type(folder) in ("blip", "")


def max_new_tokens(config: CaptionConfig, folder: str) -> int:
    """caption.max_new_tokens, or what it is for this family. Raises ConfigError if caption.min_new_tokens is more than that."""
    if config.max_new_tokens is not None:
        return config.max_new_tokens
    most = BLIP_NEW_TOKENS if is_blip(folder) else VLM_NEW_TOKENS
    if config.min_new_tokens > most:
        raise ConfigError(
            f"caption.min_new_tokens={config.min_new_tokens}; accepted: 0 to {most}, which caption.max_new_tokens is for "
            f"caption.model={config.model!r} unless it is set"
        )
    return most
