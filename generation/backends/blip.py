"""Pictures -> captions by BLIP of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generation.backends.device import resolve_device, resolve_dtype
from generation.backends.model_files import find_model, weights_sha256
from generation.config import CaptionConfig
from generation.images import Image
from pipeline.contracts.errors import ConfigError

_HUB_FILES = ("*.json", "*.txt", "*.safetensors")


class BlipCaptioner:
    """A loaded captioner. `provenance` says what wrote a caption (model, weights_sha256)."""

    def __init__(self, config: CaptionConfig) -> None:
        self._device = resolve_device(config.device, "caption.device")
        self._dtype = resolve_dtype(config.dtype, self._device)
        folder = _local_folder(config.model)
        self._model, self._processor = _load(folder, config.model, self._dtype)
        self._model.to(self._device).eval()
        self._options: dict[str, Any] = {
            "do_sample": False,
            "num_beams": config.num_beams,
            "min_new_tokens": config.min_new_tokens,
            "max_new_tokens": config.max_new_tokens,
            "repetition_penalty": config.repetition_penalty,
            "no_repeat_ngram_size": config.no_repeat_ngram_size,
        }
        self.provenance: dict[str, Any] = {"model": config.model, "weights_sha256": weights_sha256(folder)}

    def caption(self, images: Sequence[Image]) -> list[str]:
        """One sentence per (H, W, 3) uint8 RGB picture, without special tokens, spaces made single."""
        import torch

        pixels = self._processor.image_processor(images=list(images), return_tensors="pt").pixel_values
        with torch.inference_mode():
            ids = self._model.generate(pixel_values=pixels.to(self._device, self._dtype), **self._options)
        return [" ".join(text.split()) for text in self._processor.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def _local_folder(configured: str) -> str:
    name, is_folder = find_model(configured, "caption.model", "captioner", "config.json")
    if is_folder:
        return name
    from huggingface_hub import snapshot_download

    try:
        return str(snapshot_download(name, allow_patterns=list(_HUB_FILES)))
    except Exception as err:  # many kinds: no such name, no network, no permission
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
        raise ConfigError(
            f"caption.model={configured!r} is no folder here, and fetching it from the model hub failed ({reason}); "
            "accepted: embedded, a folder in transformers layout, a name on the hub"
        ) from err


def _load(folder: str, configured: str, dtype: Any) -> tuple[Any, Any]:
    from transformers import BlipForConditionalGeneration, BlipProcessor
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        model = BlipForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
        return model, BlipProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as err:
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
        raise ConfigError(
            f"caption.model={configured!r}: {Path(folder).name} does not load as a BLIP captioner ({reason}); "
            "the folder must hold config.json, model.safetensors, tokenizer and processor files"
        ) from err
