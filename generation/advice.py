"""What helps where a stage loses most of its samples: by reason where that says it, else by stage."""

import shlex
from collections.abc import Mapping
from pathlib import Path

_BY_STAGE = {
    "generate": "change the prompts or generate.model",
    "filter": "change the prompts, generate.model or filter.thresholds",
    "recrop": "change generate.height and generate.width, or recrop.min_height_px",
    "caption": "change caption.model",
}
_BY_REASON = {  # {run}: its folder
    "not_finite": "set generate.dtype=float32",
    "unsafe_image": "change the prompts, or set generate.safety_checker=false",
    "corrupt_image": "make the pictures again: `passerby run {run} --redo generate` ({run}/logs say why they cannot be read)",
    "pose_worker_died": "give the task more memory, or set a smaller filter.num_workers ({run}/logs say how the workers ended), "
    "and filter again: `passerby run {run} --redo filter`",
    "invalid_measure": "change filter.plugins.dtype",
    "invalid_answers": "set caption.require_answers=false, or change caption.model",
    "caption_cut": "set a larger caption.max_new_tokens",
    "caption_short": "set a smaller caption.min_words, or change caption.model",
    "caption_loop": "raise caption.repetition_penalty or caption.no_repeat_ngram_size, or change caption.model",
    "caption_no_clothing": "set caption.require_clothing=false, or change caption.model",
}


def advice(run: Path, stage: str, reasons: Mapping[str, int]) -> str:
    """For the most frequent of the reasons for which a stage has lost samples. reasons: at least one, with its number of samples."""
    most = max(reasons, key=lambda reason: reasons[reason])
    helps = _BY_REASON.get(most) or _BY_STAGE.get(stage, f"change the settings of {stage}")
    return helps.format(run=shlex.quote(str(run)))
