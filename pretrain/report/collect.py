"""What a training's page shows: its log, its settings, and what its newest checkpoint answers on held-out shards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from pipeline.config import load
from pipeline.contracts.errors import ConfigError, ContractError, ProjectError
from pipeline.fileio import read_json
from pipeline.paths import CONFIG_FILE, METRICS_FILE, SUMMARY_FILE
from pretrain import checkpoint
from pretrain.config import PretrainConfig
from pretrain.engine import pick_device
from pretrain.evaluate import rank_split, scores_of
from pretrain.metrics_log import read_lines
from pretrain.mixture import open_gallery

TOP = 5
Line = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer; picture: encoded bytes."""

    key: str
    caption: str
    right: bool
    picture: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    """A held-out caption, the picture it was written for, and the first pictures that the model names."""

    text: str
    picture: bytes = field(repr=False)
    hits: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """Scores as `pretrain.evaluate.evaluate` gives them, and sample queries, of the checkpoint after `step` steps.

    reranked: queries are answered by the matching head; else by similarity alone, because that finds more (a head still at chance).
    """

    step: int
    scores: dict[str, dict[str, Any]]
    reranked: bool
    queries: tuple[Query, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """answers: None if there are none, and then why in `no_answers`."""

    folder: Path
    config: PretrainConfig
    lines: Sequence[Line]
    summary: dict[str, Any]
    environment: dict[str, Any]
    answers: Answers | None
    no_answers: str


def collect(folder: Path, num_queries: int) -> Training:
    """Raises ConfigError for a folder that no pre-training wrote."""
    lines = [line for line in read_lines(folder / METRICS_FILE) if "num_steps" in line]  # not those of a validation alone
    if not lines or not (folder / CONFIG_FILE).is_file():
        raise ConfigError(f"{folder} holds no training with a logged step (config.yaml, metrics.jsonl); give `out` of a pre-training")
    try:
        config = load(PretrainConfig, folder / CONFIG_FILE)
    except ConfigError as err:
        raise ContractError(f"{folder} is not the folder of a pre-training: {err}") from err
    answers, why = None, "left out (--queries 0)"
    if num_queries:
        try:
            answers = answered(config, folder / "checkpoint", num_queries)
        except (ProjectError, OSError) as err:  # the page is worth having without them
            why = str(err)
    return Training(
        folder=folder,
        config=config,
        lines=lines,
        summary=_json(folder / SUMMARY_FILE),
        environment=_json(folder / "environment.json"),
        answers=answers,
        no_answers=why,
    )


@torch.no_grad()
def answered(config: PretrainConfig, checkpoints: Path, num_queries: int) -> Answers:
    """Queries are evenly spaced over the held-out split; nobody picks."""
    loaded = checkpoint.load_model(checkpoints, pick_device(config.engine.device))
    reader = open_gallery(config.data)
    ranking, held_out, predicted = rank_split(config, loaded.model, loaded.tokenizer, reader)
    scores = scores_of(config, reader, ranking, held_out, predicted)
    reranked = scores["retrieval"]["recall@1"] >= scores["similarity"]["recall@1"]
    count = min(num_queries, len(reader))
    queries = []
    for number in (i * len(reader) // count for i in range(count)):
        first = ranking.first(number, TOP, reranked)
        own, *found = reader.read_many([number, *first])
        hits = (
            Hit(sample.meta.key, sample.meta.caption, held_out.identities[place] == held_out.identities[number], sample.image)
            for place, sample in zip(first, found, strict=True)
        )
        queries.append(Query(held_out.captions[number], own.image, tuple(hits)))
    return Answers(loaded.metadata["step"], scores, reranked, tuple(queries))


def history(lines: Sequence[Line], name: str) -> tuple[list[float], list[float]]:
    """Steps and values of one quantity, where it was logged."""
    found = [(float(line["step"]), float(line[name])) for line in lines if line.get(name) is not None]
    return [step for step, _ in found], [value for _, value in found]


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}
