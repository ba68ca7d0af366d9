"""Settings of `caption` -> arguments of `generate`, for every family of captioners."""

from typing import Any

from generation.backends.captioner_files import max_new_tokens
from generation.config import CaptionConfig


def decoding_options(config: CaptionConfig, folder: str) -> dict[str, Any]:
    """No chance is involved: candidates are the best beams."""
    return {
        "do_sample": False,
        "num_beams": max(config.num_beams, config.num_candidates),
        "num_return_sequences": config.num_candidates,
        "min_new_tokens": config.min_new_tokens,
        "max_new_tokens": max_new_tokens(config, folder),
        "repetition_penalty": config.repetition_penalty,
        "no_repeat_ngram_size": config.no_repeat_ngram_size,
    }
