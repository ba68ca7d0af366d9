"""Pictures -> captions by BLIP of transformers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generation.backends.batching import BatchSize, in_batches
from generation.backends.decoding import decoding_options
from generation.backends.device import resolve_device, resolve_dtype
from generation.backends.model_files import load_errors, model_name, weights_sha256
from generation.backends.quiet import silence_transformers
from generation.candidates import Candidate, Description
from generation.config import CaptionConfig
from generation.images import Image
from pipeline.collector import paused
from pipeline.contracts.errors import ConfigError, first_line


class BlipCaptioner:
    """A loaded captioner. `provenance` says what wrote a caption (model, weights_sha256)."""

    def __init__(self, config: CaptionConfig, folder: str) -> None:
        _import_libraries()
        self._device = resolve_device(config.device, "caption.device")
        self._dtype = resolve_dtype(config.dtype, self._device)
        self._model, self._processor = _load(folder, config.model, self._dtype)
        self._model.to(self._device).eval()
        self._batch = BatchSize(config.batch_size)
        self._num_candidates = config.num_candidates
        self._options: dict[str, Any] = {
            **decoding_options(config, folder),
            "return_dict_in_generate": True,
            "output_scores": True,
        }
        self.provenance: dict[str, Any] = {"model": model_name(config.model), "weights_sha256": weights_sha256(folder)}

    def describe(self, images: Sequence[Image]) -> list[Description]:
        """Candidates for each (H, W, 3) uint8 RGB picture, without special tokens, spaces made single."""
        way_out = "memory does not hold one picture for the captioner: choose a smaller caption.num_beams, or caption.dtype"
        return in_batches(self._batch, len(images), lambda a, b: self._batch_of(images[a:b]), way_out)

    def _batch_of(self, images: Sequence[Image]) -> list[Description]:
        import torch

        pixels = self._processor.image_processor(images=list(images), return_tensors="pt").pixel_values
        with torch.inference_mode():
            made = self._model.generate(pixel_values=pixels.to(self._device, self._dtype), **self._options)
        texts = [" ".join(text.split()) for text in self._processor.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)]
        scores = self._scores(made)
        each = self._num_candidates
        candidates = [Candidate(text, score) for text, score in zip(texts, scores, strict=True)]
        return [Description(candidates[i : i + each]) for i in range(0, len(candidates), each)]

    def _scores(self, made: Any) -> list[float]:
        """Mean log-probability of the new tokens, after repetition control: the beam's own, or summed up for a greedy text."""
        if getattr(made, "sequences_scores", None) is not None:
            return [round(float(score), 4) for score in made.sequences_scores]
        chosen = self._model.text_decoder.compute_transition_scores(made.sequences, made.scores, normalize_logits=True)
        written = made.sequences[:, -chosen.shape[1] :] != self._model.config.text_config.pad_token_id
        return [round(float(row[mask].mean()), 4) if mask.any() else 0.0 for row, mask in zip(chosen.float(), written, strict=True)]


def _import_libraries() -> None:
    """Seconds of every start are imports, of which the collector took a seventh."""
    with paused():
        silence_transformers()
        from transformers import BlipForConditionalGeneration, BlipProcessor  # noqa: F401 -- loaded, not used


def _load(folder: str, configured: str, dtype: Any) -> tuple[Any, Any]:
    from transformers import BlipForConditionalGeneration, BlipProcessor

    try:
        model = BlipForConditionalGeneration.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
        return model, BlipProcessor.from_pretrained(folder, local_files_only=True)
    except load_errors() as err:
        raise ConfigError(
            f"caption.model={configured!r}: {Path(folder).name} does not load as a BLIP captioner ({first_line(err)}); "
            "the folder must hold config.json, model.safetensors, tokenizer and processor files"
        ) from err
