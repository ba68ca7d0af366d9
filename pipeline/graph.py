"""The stages of a generation run as data: order, inputs, outputs, resources. No stage imports this; orchestration does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from pipeline.contracts.errors import ConfigError


@dataclass(frozen=True, slots=True)
class StageSpec:
    """One stage. Its command is `python -m generation NAME --config RUN/config.yaml --units LIST`.

    kind: "units" makes unit u from unit u of the stages it reads; "single" is one piece of work (unit 0) over the whole run.
    rows_from, images_from: the stages whose rows and newest pictures it reads.
    """

    name: str
    kind: Literal["single", "units"]
    rows_from: str | None
    images_from: str | None
    writes_images: bool
    resource: Literal["gpu", "cpu"]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Distinct stages that this one reads, rows first."""
        return tuple(dict.fromkeys(s for s in (self.rows_from, self.images_from) if s is not None))


STAGES: tuple[StageSpec, ...] = (
    StageSpec("prompts", "single", None, None, False, "cpu"),
    StageSpec("generate", "units", "prompts", None, True, "gpu"),
    StageSpec("filter", "units", "generate", "generate", False, "cpu"),
    StageSpec("recrop", "units", "filter", "generate", True, "cpu"),
    StageSpec("caption", "units", "recrop", "recrop", False, "gpu"),
    StageSpec("annotate", "units", "caption", None, False, "cpu"),
    StageSpec("shard", "single", "annotate", "recrop", False, "cpu"),
)

CHAIN = tuple(spec for spec in STAGES if spec.kind == "units")  # they follow each other unit by unit
FUSED = "fused"  # a command like a stage's: all of the chain at once, in one process


def commands(execution: str) -> tuple[str, ...]:
    """The stage commands of a run, in order."""
    if execution != FUSED:
        return tuple(spec.name for spec in STAGES)
    return tuple(dict.fromkeys(FUSED if spec in CHAIN else spec.name for spec in STAGES))


def covered(command: str) -> tuple[StageSpec, ...]:
    """The stages that a stage command makes: itself, or all of the chain."""
    return CHAIN if command == FUSED else (find(command),)


def resource(command: str) -> Literal["gpu", "cpu"]:
    """What a stage command runs on: a GPU if one of its stages wants it."""
    return "gpu" if any(spec.resource == "gpu" for spec in covered(command)) else "cpu"


def find(name: str) -> StageSpec:
    """Raises ConfigError on a name that is no stage."""
    for spec in STAGES:
        if spec.name == name:
            return spec
    raise ConfigError(f"stage {name!r} does not exist; accepted: {', '.join(s.name for s in STAGES)}")


def from_stage(name: str) -> tuple[StageSpec, ...]:
    """The stage and all later ones: what must go when its output goes."""
    return STAGES[STAGES.index(find(name)) :]


def num_units(spec: StageSpec, units_of_run: int) -> int:
    """Of a stage: a single one is one unit."""
    return 1 if spec.kind == "single" else units_of_run


def sources(spec: StageSpec, unit: int, units_of_run: int) -> list[tuple[str, int]]:
    """The (stage, unit) pairs whose files unit `unit` of `spec` is made from, in the order that its input digest uses."""
    return sources_of(spec, units_of_run)(unit)


def sources_of(spec: StageSpec, units_of_run: int) -> Callable[[int], list[tuple[str, int]]]:
    """`sources` of a stage, to be asked of thousands of units."""
    names = spec.inputs
    if spec.kind == "single":
        everything = [(name, u) for u in range(units_of_run) for name in names]
        return lambda _: everything
    inputs = [(name, find(name).kind == "single") for name in names]
    return lambda unit: [(name, 0 if single else unit) for name, single in inputs]
