"""Pictures -> answers about attributes, then one sentence, by any image-text-to-text model of transformers with a chat template."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generation.answers import Answers, labels_of_answers, parse_answers, question, sentence_request
from generation.backends.batching import BatchSize, in_batches
from generation.backends.captioner_files import first_line
from generation.backends.device import resolve_device, resolve_dtype
from generation.backends.model_files import weights_sha256
from generation.backends.quiet import silence_transformers
from generation.candidates import Candidate, Description
from generation.config import CaptionConfig
from generation.images import Image
from pipeline.contracts.errors import ConfigError

MAX_ANSWER_TOKENS = 320  # the JSON of all fields takes about 200


class VlmCaptioner:
    """A loaded model. `provenance` says what wrote a caption (model, weights_sha256)."""

    def __init__(self, config: CaptionConfig, folder: str) -> None:
        self._device = resolve_device(config.device, "caption.device")
        self._dtype = resolve_dtype(config.dtype, self._device)
        self._model, self._processor = _load(folder, config.model, self._dtype)
        self._model.to(self._device).eval()
        self._batch = BatchSize(config.batch_size)
        self._config = config
        self.provenance: dict[str, Any] = {"model": config.model, "weights_sha256": weights_sha256(folder)}

    def describe(self, images: Sequence[Image]) -> list[Description]:
        """For each (H, W, 3) uint8 RGB picture: one sentence, written with the validated answers in hand; the answers as 27 labels."""
        way_out = "memory does not hold one picture for the captioner: choose a smaller model, or caption.dtype"
        return in_batches(self._batch, len(images), lambda a, b: self._batch_of(images[a:b]), way_out)

    def _batch_of(self, images: Sequence[Image]) -> list[Description]:
        parsed = [_parsed(text) for text in self._ask(images, [question()] * len(images), MAX_ANSWER_TOKENS)]
        requests = [sentence_request(answers) for answers, _ in parsed]
        sentences = self._ask(images, requests, self._config.max_new_tokens)
        return [
            Description([Candidate(one_sentence(text))], labels_of_answers(answers) if answers else None, problem)
            for text, (answers, problem) in zip(sentences, parsed, strict=True)
        ]

    def _ask(self, images: Sequence[Image], texts: Sequence[str], max_new_tokens: int) -> list[str]:
        """One answer per picture and text, greedy."""
        import torch
        from PIL import Image as PillowImage

        chats = [
            [{"role": "user", "content": [{"type": "image", "image": PillowImage.fromarray(image)}, {"type": "text", "text": text}]}]
            for image, text in zip(images, texts, strict=True)
        ]
        inputs = self._processor.apply_chat_template(
            chats, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt", padding=True
        )
        inputs = {k: v.to(self._device, self._dtype if v.is_floating_point() else None) for k, v in inputs.items()}
        with torch.inference_mode():
            ids = self._model.generate(
                **inputs,
                do_sample=False,
                max_new_tokens=max_new_tokens,
                repetition_penalty=self._config.repetition_penalty,
                no_repeat_ngram_size=self._config.no_repeat_ngram_size if max_new_tokens != MAX_ANSWER_TOKENS else 0,  # JSON repeats
            )
        return self._processor.batch_decode(ids[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def one_sentence(text: str) -> str:
    """The first line without quotation marks and list signs; spaces made single."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    return " ".join(line.strip().lstrip("-*• ").strip("\"'“”").split())


def _parsed(text: str) -> tuple[Answers | None, str | None]:
    try:
        return parse_answers(text), None
    except ValueError as err:
        return None, str(err)[:300]


def _load(folder: str, configured: str, dtype: Any) -> tuple[Any, Any]:
    silence_transformers()
    from safetensors import SafetensorError
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as err:
        raise ConfigError(
            f"caption.model={configured!r}: {Path(folder).name} does not load as a BLIP captioner or image-text-to-text model "
            f"({first_line(err)}); the folder must hold config.json, safetensors, tokenizer and processor files"
        ) from err
    if not getattr(processor, "chat_template", None):
        raise ConfigError(f"caption.model={configured!r} has no chat template; accepted: BLIP, or a model that follows instructions")
    processor.tokenizer.padding_side = "left"  # answers begin where prompts end
    return model, processor
