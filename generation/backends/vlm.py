"""Pictures -> answers about attributes, then one sentence, by any image-text-to-text model of transformers with a chat template."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from generation.answers import Answers, labels_of_answers, parse_answers, question, sentence_request
from generation.backends.batching import BatchSize, in_batches
from generation.backends.decoding import decoding_options
from generation.backends.device import resolve_device, resolve_dtype
from generation.backends.model_files import load_errors, model_name, weights_sha256
from generation.backends.quiet import silence_transformers
from generation.candidates import Candidate, Description
from generation.config import CaptionConfig
from generation.images import Image
from generation.spoken import finished, one_sentence, without_thoughts
from pipeline.contracts.errors import ConfigError, first_line

_MISSING_LIBRARY = re.compile(r"requires the (\S+) library")  # as transformers says it
_ANSWER_OPTIONS = {  # one answer, whatever controls the sentence: JSON repeats itself
    "do_sample": False,
    "num_beams": 1,
    "max_new_tokens": 320,  # the JSON of all fields takes about 200
    "repetition_penalty": 1.0,
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model wrote. score: mean log-probability of the tokens, None for a greedy reply; is_cut: it had not come to its end."""

    text: str
    score: float | None = None
    is_cut: bool = False


class VlmCaptioner:
    """A loaded model. `provenance` says what wrote a caption (model, weights_sha256)."""

    def __init__(self, config: CaptionConfig, folder: str) -> None:
        self._device = resolve_device(config.device, "caption.device")
        self._dtype = resolve_dtype(config.dtype, self._device)
        self._model, self._processor = _load(folder, config.model, self._dtype)
        self._model.to(self._device).eval()
        self._batch = BatchSize(config.batch_size)
        self._sentence_options = {**decoding_options(config, folder), "output_scores": config.num_candidates > 1}
        self.provenance: dict[str, Any] = {"model": model_name(config.model), "weights_sha256": weights_sha256(folder)}

    def describe(self, images: Sequence[Image]) -> list[Description]:
        """For each (H, W, 3) uint8 RGB picture: one sentence, written with the validated answers in hand; the answers as 27 labels."""
        way_out = "memory does not hold one picture for the captioner: choose a smaller model, or caption.dtype"
        return in_batches(self._batch, len(images), lambda a, b: self._batch_of(images[a:b]), way_out)

    def _batch_of(self, images: Sequence[Image]) -> list[Description]:
        parsed = [_parsed(replies[0].text) for replies in self._ask(images, [question()] * len(images), _ANSWER_OPTIONS)]
        requests = [sentence_request(answers) for answers, _ in parsed]
        sentences = self._ask(images, requests, self._sentence_options)
        return [
            Description([candidate(reply) for reply in replies], labels_of_answers(answers) if answers else None, problem)
            for replies, (answers, problem) in zip(sentences, parsed, strict=True)
        ]

    def _ask(self, images: Sequence[Image], texts: Sequence[str], options: dict[str, Any]) -> list[list[Reply]]:
        """Replies to each picture and text, the likeliest first: options["num_return_sequences"] of them, or one."""
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
            made = self._model.generate(**inputs, **options, return_dict_in_generate=True)
        replies = self._replies(made.sequences[:, inputs["input_ids"].shape[1] :], getattr(made, "sequences_scores", None))
        each = len(replies) // len(images)
        return [replies[i : i + each] for i in range(0, len(replies), each)]

    def _replies(self, ids: Any, scores: Any) -> list[Reply]:
        texts = self._processor.batch_decode(ids, skip_special_tokens=True)
        ends = _end_tokens(self._model.generation_config.eos_token_id)
        cut = [bool(ends) and ends.isdisjoint(row) for row in ids.tolist()]
        values = [None] * len(texts) if scores is None else [round(float(score), 4) for score in scores]
        return [Reply(text, value, is_cut) for text, value, is_cut in zip(texts, values, cut, strict=True)]


def candidate(reply: Reply) -> Candidate:
    """The sentence of a reply; one that ran out of tokens is cut unless a whole sentence stands before that."""
    whole = finished(reply.text) if reply.is_cut else one_sentence(reply.text)
    return Candidate(one_sentence(reply.text) if whole is None else whole, reply.score, is_cut=whole is None)


def _end_tokens(configured: int | list[int] | None) -> set[int]:
    return set() if configured is None else {configured} if isinstance(configured, int) else set(configured)


def _parsed(text: str) -> tuple[Answers | None, str | None]:
    try:
        return parse_answers(without_thoughts(text)), None
    except ValueError as err:
        return None, str(err)[:300]


def _load(folder: str, configured: str, dtype: Any) -> tuple[Any, Any]:
    silence_transformers()
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        model = AutoModelForImageTextToText.from_pretrained(folder, dtype=dtype, local_files_only=True, use_safetensors=True)
        processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except ImportError as err:
        names = ", ".join(_MISSING_LIBRARY.findall(str(err))).lower() or str(err.name or first_line(err))
        raise ConfigError(
            f"caption.model={configured!r} needs {names}, which is not installed here; install it from where torch came, in the version "
            "that goes with it, or choose another model"
        ) from err
    except load_errors() as err:
        raise ConfigError(
            f"caption.model={configured!r}: {Path(folder).name} does not load as a BLIP captioner or image-text-to-text model "
            f"({first_line(err)}); the folder must hold config.json, safetensors, tokenizer and processor files"
        ) from err
    if not getattr(processor, "chat_template", None):
        raise ConfigError(f"caption.model={configured!r} has no chat template; accepted: BLIP, or a model that follows instructions")
    processor.tokenizer.padding_side = "left"  # answers begin where prompts end
    return model, processor
