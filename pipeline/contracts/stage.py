"""What a stage is: a pure function from items to outcomes, with models loaded once per task.

Stages are written in `generation`; `pipeline.runner` runs them. A bad sample is an outcome (Drop, Fail), a bad task is an exception.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Row = dict[str, Any]  # JSON-like values only; one row of the unit's Parquet file


@dataclass(frozen=True, slots=True)
class Item:
    """One sample on its way through a stage.

    row: everything that earlier stages wrote about this key (cumulative). image: encoded bytes of the newest picture, None where the
    stage does not read pictures or none exists yet.
    """

    key: str
    row: Row
    image: bytes | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """The sample goes on. `row` holds only the new fields; `image` replaces the picture (None: unchanged)."""

    row: Row = field(default_factory=dict)
    image: bytes | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """The sample is judged unfit. `reason` comes from the stage's closed set; measures in `row` are stored all the same."""

    reason: str
    row: Row = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fail:
    """The sample could not be processed (corrupt picture, worker died). Counted apart from Drop."""

    reason: str
    detail: str = ""


Outcome = Keep | Drop | Fail


class Stage(Protocol):
    """One verb of the flow. Instances are cheap; `setup` loads what is heavy."""

    name: str  # verb: "caption"; also folder, done record, log and job name
    reads_images: bool
    writes_images: bool
    batch_size: int

    def setup(self) -> None:
        """Load weights; once per task, on the worker. Raises StageError or ConfigError."""
        ...

    def process(self, batch: Sequence[Item]) -> Sequence[Outcome]:
        """One outcome per item, in order. Must not depend on how items are batched."""
        ...

    def teardown(self) -> None:
        """Release pools and files; called also after an exception."""
        ...


class SplitStage(Stage, Protocol):
    """A stage whose device work can run ahead of its host work: process(batch) is finish(batch, compute(batch)).

    `compute` is called by `num_lanes` threads at once; `finish` by one, in order. process() must give the same bytes.
    """

    num_lanes: int

    def compute(self, batch: Sequence[Item]) -> Any:
        """What only the device can do."""
        ...

    def finish(self, batch: Sequence[Item], computed: Any) -> Sequence[Outcome]:
        """Outcomes from what `compute` has made of the same batch."""
        ...
