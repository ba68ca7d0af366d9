"""What helps where samples are lost: every reason of a gate has advice that names settings which exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from generation import caption_gate, filter_decision
from generation.advice import advice
from generation.config import GenerationConfig

RUN = Path("runs/my run")
REASONS = [
    *(("caption", reason) for reason in caption_gate.REASONS),
    *(("filter", reason) for reason in (*filter_decision.REASONS, "invalid_measure", "pose_worker_died", "low_clip")),
    *(("generate", reason) for reason in ("not_finite", "unsafe_image")),
    ("recrop", "small_crop"),
]


@pytest.mark.parametrize(("stage", "reason"), REASONS)
def test_advice_names_settings_that_exist(stage: str, reason: str) -> None:
    named = re.findall(r"([a-z]+)\.([a-z_]+)", advice(RUN, stage, {reason: 9, "another": 1}))
    assert named
    for section, name in named:
        assert name in {field.name for field in fields(getattr(GenerationConfig(), section))}


def test_captions_that_are_lost_are_not_mended_by_the_filter() -> None:
    assert "caption.require_answers" in advice(RUN, "caption", {"caption_short": 1, "invalid_answers": 9})
    assert "caption.max_new_tokens" in advice(RUN, "caption", {"caption_cut": 9})
    assert "filter.thresholds" not in advice(RUN, "caption", {"caption_refusal": 9})


def test_pictures_that_a_machine_lost_are_not_mended_by_other_prompts() -> None:
    for reason in ("corrupt_image", "pose_worker_died"):
        assert "prompts" not in advice(RUN, "filter", {reason: 9})
    assert "memory" in advice(RUN, "filter", {"pose_worker_died": 9})
    assert "`passerby run 'runs/my run' --redo generate`" in advice(RUN, "filter", {"corrupt_image": 9})
