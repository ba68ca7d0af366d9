"""An ablation: rows x starts x seeds, each a training of `finetune.train`; `python -m finetune ablation CONFIG`.

OUT/starts/NAME/KIND/1, 2, ... (what is trained first), OUT/KIND/NAME/ROW/seed-N (a training each), OUT/ablation.json and OUT/ablation.md
(last).
A row that leaves a kind's recipe as it was shares the trainings of the row before. Kill it and run it again: finished trainings are left
as they are, the one in progress continues.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from finetune.ablation_config import CHECKPOINT, AblationConfig
from finetune.ablation_table import table
from finetune.datasets.retrieval_split import RetrievalSplit, read_testing
from finetune.recipes import Recipe
from finetune.scores import measure
from finetune.seeds import spread
from finetune.train import train
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_bytes, write_json
from pipeline.signals import StopRequest

Scores = dict[str, float]
GUESSES = 5  # random rankings that are averaged
SCORES = ("official", "map@10", "recall@1", "map")


def run_ablation(config: AblationConfig, stop: StopRequest, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train what is not trained yet and return {"seeds", "queries", "guessing", "protocol", "starts": {start: {row: {group: {score:
    values}}}}}.

    values are {mean, std, values} over the seeds. group is a kind, or "all": the mean over the queries of all kinds, as one submission of
    both models would score. guessing: the same of random rankings. Raises ConfigError for data whose answers are not known.
    """
    out = Path(config.out)
    splits = {kind: _test_split(config.recipe(kind, 0, "unused", {})) for kind in config.recipes}
    queries = {kind: len(split.queries) for kind, split in splits.items()}
    guesses = [{kind: _guess(split, number)[kind] for kind, split in splits.items()} for number in range(GUESSES)]
    trained: dict[str, Scores] = {}
    starts: dict[str, Any] = {}
    for start in config.starts:
        begin = {kind: _start(config, start, kind, stop, say) for kind in config.recipes}
        starts[start] = {}
        for number, row in enumerate(config.rows):
            runs = []
            for seed in config.seeds:
                cells = [_Cell(config, kind, start, number, seed, begin[kind]) for kind in config.recipes]
                scores = {cell.kind: _score(cell, trained, stop, say) for cell in cells}
                runs.append(scores | {"all": _together(scores, queries)})
            starts[start][row.name] = spread(runs)
    guessing = spread([scores | {"all": _together(scores, queries)} for scores in guesses])
    result = {"seeds": list(config.seeds), "queries": queries, "guessing": guessing, "starts": starts, "protocol": _protocol(config)}
    write_bytes(out / "ablation.md", table(result).encode())
    write_json(out / "ablation.json", result)
    return result


@dataclass(frozen=True, slots=True)
class _Cell:
    """One training. Its folder is named after the first row that has its recipe."""

    config: AblationConfig
    kind: str
    start: str
    row: int
    seed: int
    checkpoint: Path | None

    @property
    def recipe(self) -> Recipe:
        rows = [row for row in range(self.row + 1) if self._of(row, "any") == self._of(self.row, "any")]
        return self._of(self.row, str(self._folder(rows[0])))

    def _folder(self, row: int) -> Path:
        names = self.kind, slug(self.start), slug(self.config.rows[row].name), f"seed-{self.seed}"
        return Path(self.config.out).joinpath(*names)

    def _of(self, row: int, out: str) -> Recipe:
        more: dict[str, Any] = {"seed": self.seed}
        if self.checkpoint is not None:
            more |= {"init.checkpoint": str(self.checkpoint)}
        return self.config.recipe(self.kind, row, out, more)


def _score(cell: _Cell, trained: dict[str, Scores], stop: StopRequest, say: Callable[[str], None]) -> Scores:
    recipe = cell.recipe
    if recipe.out not in trained:
        trained[recipe.out] = train(recipe, stop)["test"][cell.kind]
        say(f"{recipe.out}: " + ", ".join(f"{name} {100 * trained[recipe.out][name]:.1f}" for name in SCORES))
    return trained[recipe.out]


def _start(config: AblationConfig, start: str, kind: str, stop: StopRequest, say: Callable[[str], None]) -> Path | None:
    """The folder that trainings of this kind start from, after what comes before them is trained; None: random weights."""
    found = None
    for number, stage in enumerate(config.starts[start].get(kind, ())):
        if CHECKPOINT in stage:
            found = Path(stage[CHECKPOINT])
            continue
        folder = Path(config.out) / "starts" / slug(start) / kind / str(number + 1)
        recipe = config.start_recipe(start, kind, number, str(folder), found)
        say(f"{recipe.out}: trained, to start from")
        train(recipe, stop)
        found = folder
    return found


def _protocol(config: AblationConfig) -> str:
    recipes = (config.recipe(kind, row, "unused", {}) for kind in config.recipes for row in range(len(config.rows)))
    return ", ".join(dict.fromkeys(recipe.eval.selection for recipe in recipes))


def _together(scores: dict[str, Scores], queries: dict[str, int]) -> Scores:
    """Kinds are searched apart, so a mean over all queries is the mean of the kinds by their numbers of queries."""
    total = sum(queries.values())
    return {name: sum(queries[kind] * scores[kind][name] for kind in scores) / total for name in next(iter(scores.values()))}


def _test_split(recipe: Recipe) -> RetrievalSplit:
    split = read_testing(recipe.data)
    if split is None:
        raise ConfigError(f"data.folder={recipe.data.folder}: the answers of its test split are not known, so rows cannot be compared")
    return split


def _guess(split: RetrievalSplit, number: int) -> dict[str, Scores]:
    """Scores of a random ranking, each query among the pictures of its kind."""
    rng, scores = np.random.default_rng(number), np.full((len(split.queries), len(split.gallery)), -np.inf, np.float32)
    for rows, columns in split.routes.values():
        scores[np.ix_(rows, columns)] = rng.normal(size=(len(rows), len(columns)))
    return measure(split, scores)


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
