"""Several captions of one picture -> the one that is used, with the reasons against the others."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from generation.annotate import annotate
from generation.caption_gate import caption_reason
from generation.config import CaptionConfig
from pipeline.contracts.stage import Drop, Keep, Outcome


@dataclass(frozen=True, slots=True)
class Candidate:
    """One caption. score: mean log-probability of its tokens under the model that wrote it, 0 at best; None where it gives none.

    is_cut: the model had not finished it when caption.max_new_tokens were written.
    """

    text: str
    score: float | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Description:
    """What a captioner says of one picture. answers: attribute -> 0, 1, -1, of models that are asked; problem: why they are not valid."""

    candidates: list[Candidate]
    answers: dict[str, int] | None = None
    problem: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


def choose(description: Description, config: CaptionConfig) -> Outcome:
    """Keep with the best caption that passes the gate, or Drop with the reason against the best of all.

    Row: caption, captions (the best, then the others that pass), caption_candidates (text, score, reason of each, best first), and
    answers where the captioner was asked for attributes.
    """
    ranked = sorted(_distinct(description.candidates), key=lambda c: _rank(c, config), reverse=True)
    judged = [(c, "caption_cut" if c.is_cut else caption_reason(c.text, config)) for c in ranked]
    passing = [candidate.text for candidate, reason in judged if reason is None]
    row: dict[str, Any] = {
        "caption": passing[0] if passing else ranked[0].text,
        "captions": passing or [ranked[0].text],
        "caption_candidates": [{"text": c.text, "score": c.score, "reason": reason} for c, reason in judged],
        **description.extra,
    }
    if description.answers is not None:
        row["answers"] = description.answers
    if description.problem is not None and config.require_answers:
        return Drop("invalid_answers", {**row, "answers_problem": description.problem})
    return Keep(row) if passing else Drop(str(judged[0][1]), row)


def num_stated(text: str) -> int:
    """Attributes that a caption states."""
    return sum(value != -1 for value in annotate(text).values())


def _rank(candidate: Candidate, config: CaptionConfig) -> tuple[float, float]:
    likelihood = candidate.score if candidate.score is not None else 0.0
    return (num_stated(candidate.text), likelihood) if config.choose == "attributes" else (likelihood, 0.0)


def _distinct(candidates: Sequence[Candidate]) -> list[Candidate]:
    return list({candidate.text: candidate for candidate in reversed(candidates)}.values())[::-1]
