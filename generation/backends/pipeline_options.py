"""What is done to a loaded diffusers pipeline before it is used: a LoRA fused in, and settings that change speed and memory only."""

from pathlib import Path
from typing import Any

from generation.backends.attention import set_attention
from generation.config import GenerateConfig
from pipeline.contracts.errors import ConfigError, first_line
from pipeline.fileio import sha256_file


def num_tokens_cut(pipeline: Any, text: str) -> int:
    """Tokens at the end of a text that no encoder of the pipeline reads: CLIP takes 77, of captions of 60 words the end is lost."""
    over = []
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3"):
        tokenizer = getattr(pipeline, name, None)
        if tokenizer is not None:
            over.append(len(tokenizer(text, truncation=False).input_ids) - tokenizer.model_max_length)
    return max(0, min(over, default=0))


def add_lora(pipeline: Any, config: GenerateConfig) -> dict[str, Any]:
    """Load config.lora, fuse it at config.lora_scale (so that it costs nothing later); returns its provenance, {} without one.

    Raises ConfigError if the file does not exist, is no LoRA of this pipeline, or the pipeline takes none.
    """
    from safetensors import SafetensorError

    if config.lora is None:
        return {}
    path = Path(config.lora).expanduser()
    if not path.is_file():
        raise ConfigError(f"generate.lora={config.lora!r} does not exist; accepted: the path of a .safetensors file")
    if not hasattr(pipeline, "load_lora_weights"):
        raise ConfigError(f"generate.lora={config.lora!r}: {type(pipeline).__name__} takes no LoRA")
    try:
        pipeline.load_lora_weights(str(path.parent), weight_name=path.name, local_files_only=True, use_safetensors=True)
        if not any(pipeline.get_list_adapters().values()):
            raise ValueError("none of its keys belongs to this model")
        pipeline.fuse_lora(lora_scale=config.lora_scale)
        pipeline.unload_lora_weights()
    except SafetensorError as err:
        raise ConfigError(f"generate.lora={config.lora!r} is damaged or no .safetensors file ({first_line(err)}); copy it again") from err
    except (OSError, ValueError, KeyError, RuntimeError) as err:
        raise ConfigError(f"generate.lora={config.lora!r} does not fit generate.model={config.model!r} ({first_line(err)})") from err
    return {"lora": {"file": path.name, "sha256": sha256_file(path), "scale": config.lora_scale}}


def tune(pipeline: Any, config: GenerateConfig, channels_last: bool) -> None:
    """Memory layout, attention backend, compile. Results change by rounding at most. Raises ConfigError for a backend that is not there."""
    name, denoiser = _denoiser(pipeline)
    if channels_last:
        import torch

        for module in (denoiser, getattr(pipeline, "vae", None)):
            if module is not None and all(p.dim() <= 4 for p in module.parameters()):  # 3-D convolutions have a layout of their own
                module.to(memory_format=torch.channels_last)
    set_attention(pipeline, denoiser, config.attention)
    if config.compile:
        import torch

        setattr(pipeline, name, torch.compile(denoiser))


def _denoiser(pipeline: Any) -> tuple[str, Any]:
    """The network that works at every step: `unet` in the older families, `transformer` in SANA, Flux and others."""
    for name in ("unet", "transformer"):
        if getattr(pipeline, name, None) is not None:
            return name, getattr(pipeline, name)
    raise ConfigError(f"{type(pipeline).__name__} has neither unet nor transformer; it is no text-to-image pipeline that passerby knows")
