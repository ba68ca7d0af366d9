"""AblationConfig: which changes are added to a recipe, one after the other, from which starts and seeds. No torch here."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.datasets.records import KINDS
from finetune.recipes import Recipe, recipe_of
from pipeline.config import apply_overrides
from pipeline.contracts.errors import ConfigError

Changes = dict[str, Any]  # dotted field of a recipe -> value
CHECKPOINT = "checkpoint"


@dataclass(frozen=True, kw_only=True)
class AblationRow:
    """What a row adds to the row before it, for each kind."""

    name: str
    pedestrian: Changes = field(default_factory=dict)
    vehicle: Changes = field(default_factory=dict)

    def of(self, kind: str) -> Changes:
        return self.pedestrian if kind == "pedestrian" else self.vehicle


@dataclass(frozen=True, kw_only=True)
class AblationConfig:
    """A recipe for each kind, and what is varied. Raises ConfigError for a kind without a recipe, or fewer than two rows or seeds."""

    out: str
    recipes: dict[str, dict[str, Any]]  # kind -> a whole recipe, less `out`
    rows: tuple[AblationRow, ...]  # cumulative; the first one is the base
    starts: dict[str, dict[str, tuple[Changes, ...]]]
    """name -> kind -> what comes before the rows, each from the weights of the one before it: {checkpoint: FOLDER} takes weights that are
    there, anything else is changes of the kind's recipe, which is trained."""
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        if not self.recipes or set(self.recipes) - set(KINDS):
            raise ConfigError(f"recipes of {sorted(self.recipes)}; accepted: {', '.join(KINDS)}, or one of them")
        if len(self.rows) < 2 or len({row.name for row in self.rows}) < len(self.rows):
            raise ConfigError(f"rows {[row.name for row in self.rows]}; accepted: two and more of different names")
        if len(set(self.seeds)) < 2 or len(set(self.seeds)) < len(self.seeds):
            raise ConfigError(f"seeds {list(self.seeds)}; accepted: at least two different ones, because a spread is reported")
        if not self.starts:
            raise ConfigError("starts is empty; give one and more, such as {random weights: {}}")
        for name, kinds in self.starts.items():
            if unknown := sorted(set(kinds) - set(self.recipes)):
                raise ConfigError(f"starts.{name}: no recipe for {', '.join(unknown)}; accepted: {', '.join(self.recipes)}")
            for kind, stages in kinds.items():
                if mixed := [stage for stage in stages if CHECKPOINT in stage and len(stage) > 1]:
                    raise ConfigError(f"starts.{name}.{kind}: {mixed[0]}; accepted: {CHECKPOINT} alone, or changes of the recipe alone")
                for number, stage in enumerate(stages):
                    if CHECKPOINT not in stage:
                        self.start_recipe(name, kind, number, "unused", None)
        for kind in self.recipes:
            for number in range(len(self.rows)):
                self.recipe(kind, number, "unused", {})

    def recipe(self, kind: str, row: int, out: str, more: Changes) -> Recipe:
        """The recipe of a row: all changes up to it, and `more`."""
        changes: Changes = {}
        for earlier in self.rows[: row + 1]:
            changes |= earlier.of(kind)
        return self._build(kind, out, changes | more, f"recipes.{kind}, row {self.rows[row].name!r}")

    def start_recipe(self, start: str, kind: str, number: int, out: str, weights: Path | None) -> Recipe:
        """The training in place `number` of a start. weights: the folder that it starts from."""
        changes = self.starts[start][kind][number] | ({"init.checkpoint": str(weights)} if weights else {})
        return self._build(kind, out, changes, f"starts.{start}.{kind}, training {number + 1}")

    def _build(self, kind: str, out: str, changes: Mapping[str, Any], where: str) -> Recipe:
        settings = [f"{name}={json.dumps(value)}" for name, value in {"out": out, **changes}.items()]
        return recipe_of(apply_overrides(self.recipes[kind], settings), where)
