"""Measures of a picture by models of transformers: how well it fits its prompt, or the score of a classifier. Optional, off by default."""

from collections.abc import Sequence
from typing import Any, Protocol

from generation.backends.device import resolve_device, resolve_dtype
from generation.backends.model_files import find_model, load_errors
from generation.backends.quiet import silence_transformers
from generation.config import PluginConfig
from generation.images import Image
from pipeline.contracts.errors import ConfigError


class Plugin(Protocol):
    """One loaded measure."""

    name: str

    def measure(self, images: Sequence[Image], prompts: Sequence[str | None]) -> list[float | None]:
        """A value per (H, W, 3) uint8 RGB picture, to six digits; None where there is nothing to measure."""
        ...


def load_plugin(config: PluginConfig) -> Plugin:
    """Raises ConfigError if the model does not load as the kind that the config says."""
    silence_transformers()
    return ImageTextScore(config) if config.kind == "image_text" else ClassifierScore(config)


class ImageTextScore:
    """Cosine of picture and prompt in the space of a two-tower model (CLIP, SigLIP), -1 to 1. Prompts are cut at the model's length."""

    def __init__(self, config: PluginConfig) -> None:
        from transformers import AutoModel, AutoProcessor

        self.name = config.name
        self._device, self._model, self._processor = _load(config, AutoModel, AutoProcessor)
        if not (hasattr(self._model, "get_image_features") and hasattr(self._model, "get_text_features")):
            raise ConfigError(f"filter.plugins.{config.name}: {config.model!r} has no two towers; accepted: CLIP, SigLIP and the like")
        self._padding = _text_padding(self._model.config)

    def measure(self, images: Sequence[Image], prompts: Sequence[str | None]) -> list[float | None]:
        import torch

        texts = [prompt or "" for prompt in prompts]
        inputs = self._processor(text=texts, images=list(images), return_tensors="pt", truncation=True, **self._padding)
        inputs = {k: v.to(self._device, self._model.dtype if v.is_floating_point() else None) for k, v in inputs.items()}
        with torch.inference_mode():
            made = self._model(**inputs)
        one, other = (torch.nn.functional.normalize(e.float(), dim=-1) for e in (made.image_embeds, made.text_embeds))
        return [_short(v) if prompt else None for v, prompt in zip((one * other).sum(-1).tolist(), prompts, strict=True)]


def _text_padding(config: Any) -> dict[str, Any]:
    """How prompts get one length. SigLIP reads its padding, with which it was trained: always to its full length, and without a mask."""
    if not config.model_type.startswith("siglip"):
        return {"padding": True}
    return {"padding": "max_length", "max_length": config.text_config.max_position_embeddings, "return_attention_mask": False}


class ClassifierScore:
    """Probability of a label, or the single output of a regression model such as an aesthetic predictor."""

    def __init__(self, config: PluginConfig) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageClassification

        self.name = config.name
        self._device, self._model, self._processor = _load(config, AutoModelForImageClassification, AutoImageProcessor)
        labels: dict[int, str] = self._model.config.id2label
        self._label = len(labels) - 1 if config.label is None else next((i for i, name in labels.items() if name == config.label), -1)
        if self._label < 0:
            raise ConfigError(f"filter.plugins.{config.name}.label={config.label!r}; the model knows {', '.join(labels.values())}")

    def measure(self, images: Sequence[Image], prompts: Sequence[str | None]) -> list[float | None]:
        import torch

        pixels = self._processor(images=list(images), return_tensors="pt").pixel_values.to(self._device, self._model.dtype)
        with torch.inference_mode():
            logits = self._model(pixel_values=pixels).logits.float()
        values = logits[:, 0] if logits.shape[1] == 1 else logits.softmax(-1)[:, self._label]
        return [_short(value) for value in values.tolist()]


def _load(config: PluginConfig, model_class: Any, processor_class: Any) -> tuple[Any, Any, Any]:
    device = resolve_device(config.device, "filter.plugins.device")
    name, is_folder = find_model(config.model, f"filter.plugins.{config.name}.model", None, "config.json")
    try:
        options = {"local_files_only": is_folder}
        model = model_class.from_pretrained(name, dtype=resolve_dtype(config.dtype, device), use_safetensors=True, **options)
        return device, model.to(device).eval(), processor_class.from_pretrained(name, **options)
    except load_errors() as err:
        reason = (str(err).strip().splitlines() or [type(err).__name__])[0][:300]
        raise ConfigError(
            f"filter.plugins.{config.name}.model={config.model!r} does not load as kind {config.kind} ({reason}); "
            "accepted: a folder in transformers layout with safetensors, or a name on the model hub"
        ) from err


def _short(value: float) -> float:
    return float(f"{value:.6g}")
