"""Scores of a checkpoint on a split, and submissions. A checkpoint knows how its texts and pictures are prepared (`finetune.protocol`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from finetune import tasks
from finetune.best import find_checkpoint
from finetune.config import FinetuneConfig
from finetune.datasets.retrieval_split import of_kinds, read_test
from finetune.fusion import fused_scores
from finetune.gallery_kinds import rerouted
from finetune.methods.aptm_searcher import AptmSearcher
from finetune.methods.base import Searcher
from finetune.methods.start import open_searcher
from finetune.protocol import Protocol, check_kind, eval_of, seen_in_validation, selection_of
from finetune.recipes import Recipe
from finetune.scores import ranked_names
from finetune.submission import LIST_LENGTH, write_submission
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.fileio import check_writable
from pretrain.checkpoint import read_facts, resolve
from pretrain.engine import pick_device


@dataclass(frozen=True, slots=True)
class Evaluation:
    """facts: what was scored, and on what: data_set, split, queries (where there are any), pictures, checkpoint, step (None: unknown),
    protocol (how a fine-tuning selected it)."""

    scores: tasks.Scores
    facts: dict[str, Any]

    def title(self) -> str:
        """The facts in a line."""
        sizes = ", ".join(f"{self.facts[name]} {name}" for name in ("queries", "pictures") if name in self.facts)
        step = "" if self.facts["step"] is None else f" (step {self.facts['step']})"
        return f"{self.facts['data_set']}, {self.facts['split']}: {sizes}; {self.facts['checkpoint']}{step}"


def evaluation_of(config: Recipe, folder: Path, split_name: str) -> Evaluation:
    """Of a checkpoint on "val" or "test". A pre-trained checkpoint that was never fine-tuned is scored as it is.

    Raises ConfigError for validation on identities that the checkpoint was trained on, ContractError for a test without answers.
    """
    chosen = resolve(find_checkpoint(folder))
    task = _task(config, chosen, split_name)
    step = read_facts(chosen).get("step")
    facts = {"data_set": config.data.name, "split": split_name, **task.sizes, "checkpoint": str(chosen), "step": step}
    if selection := selection_of(chosen):
        facts["protocol"] = selection
    return Evaluation(task.run(open_for(config, chosen), config.eval), facts)


def evaluate(config: Recipe, folder: Path, split_name: str) -> tasks.Scores:
    """The scores of `evaluation_of`."""
    return evaluation_of(config, folder, split_name).scores


def _task(config: Recipe, folder: Path, split_name: str) -> tasks.Task:
    if split_name == "val":
        if reason := seen_in_validation(folder, config.data):
            raise ConfigError(f"--split val: {reason}; score --split test")
        return tasks.validation_task(config.data)
    if (task := tasks.test_task(config.data)) is None:
        raise ContractError(
            f"data.folder={config.data.folder} has no test split with answers (data.name={config.data.name}; the challenge's are in "
            f"test_gt.txt), so nothing can be measured on it; score --split val"
        )
    return task


def cost_of(config: Recipe, folder: Path, split_name: str) -> dict[str, float]:
    """See `finetune.tasks.rerank_cost`. Raises as `evaluate` does, and ConfigError for a data set without queries."""
    chosen = resolve(find_checkpoint(folder))
    task = _task(config, chosen, split_name)
    if not isinstance(task, tasks.RetrievalTask):
        raise ConfigError(f"data.name={config.data.name} has no queries whose cost could be measured")
    return tasks.rerank_cost(open_for(config, chosen), task.split, config.eval)


def open_for(config: Recipe, folder: Path) -> Searcher:
    """The checkpoint, prepared as the config says where it is APTM's."""
    searcher = open_searcher(folder, pick_device(config.engine.device))
    if isinstance(config, FinetuneConfig):
        if not isinstance(searcher, AptmSearcher):
            raise ConfigError(f"{folder} is no checkpoint of APTM; give the recipe that it was trained with (its config.yaml)")
        return Protocol.of(config).searcher(searcher.model, searcher.tokenizer)
    return searcher


def predict_submission(
    checkpoints: Path | Sequence[Path],
    data: Path,
    out: Path,
    device: str = "auto",
    by_kind: Mapping[str, Sequence[Path]] | None = None,
) -> dict[str, Any]:
    """Rank the test pictures for every query and write a submission; queries of equal text get equal lists.

    checkpoints rank every query, those of `by_kind` the queries of their kind alone; several of a kind are fused (`finetune.fusion`). Each
    is run by the protocol that it was validated with. Returns "submission", its path, "queries" and "images", counts, and "kinds": kind ->
    its "queries" and the "checkpoints" that answer them. Raises ConfigError if a kind of query has no checkpoint, or is given one that was
    trained on the other kind alone, ContractError if the gallery is too small for a list of ten different names. Memory: of all models.
    """
    check_writable(out)
    for kind, folders in (by_kind or {}).items():
        for folder in folders:
            check_kind(folder, kind, f"--{kind}s")
    split = rerouted(data, read_test(data))
    if len(split.gallery) < LIST_LENGTH:
        raise ContractError(
            f"{split.folder} holds {len(split.gallery)} pictures; a submission names {LIST_LENGTH} different ones per query"
        )
    shared = [checkpoints] if isinstance(checkpoints, Path) else checkpoints
    given = {kind: [*shared, *((by_kind or {}).get(kind) or [])] for kind, (rows, _) in split.routes.items() if rows}
    if silent := [kind for kind, folders in given.items() if not folders]:
        raise ConfigError(f"no checkpoint for {silent[0]} queries; name one with --{silent[0]}s, or one for all")
    # all before the first ranking: a training that still runs may choose another checkpoint meanwhile, and delete this one
    chosen = {folder: resolve(find_checkpoint(folder)) for folder in chain(*given.values())}
    models = {folder: (open_searcher(path, pick_device(device)), eval_of(path)) for folder, path in chosen.items()}
    scores, answered = np.full((len(split.queries), len(split.gallery)), -np.inf, np.float32), {}
    for kind, folders in given.items():
        rows, _ = split.routes[kind]
        scores[rows] = fused_scores([models[folder] for folder in folders], of_kinds(split, (kind,)))
        answered[kind] = {"queries": len(rows), "checkpoints": [str(chosen[folder]) for folder in folders]}
    write_submission(out, list(zip(split.queries, ranked_names(split, scores), strict=True)))
    return {"submission": str(out), "queries": len(split.queries), "images": len(split.gallery), "kinds": answered}
