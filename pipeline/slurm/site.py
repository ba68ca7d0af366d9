"""What a cluster wants to be told: partitions, accounts, time, memory, modules, containers. Nothing in it changes a picture."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipeline import graph
from pipeline.config import build
from pipeline.contracts.errors import ConfigError

_VALUE = re.compile(r"[\w.,:@%/+=*&|()\[\]-]+")  # what stands in partitions, accounts, constraints; no blank, quote or line break
_TIME = re.compile(r"\d+-\d+(:\d{1,2}){0,2}|(\d+:)?\d{1,2}:\d{2}")  # of Slurm's forms those that YAML does not read as a number
_GRES = re.compile(r"gpu(:.*?)??(:(?P<count>\d+))?")  # gpu, gpu:4, gpu:a100, gpu:a100:4
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)(=[^\"'\\\n\r]+)?")
_OWN_OPTIONS = (  # what the templates set, or what would keep us from following a job
    *("array", "clusters", "dependency", "error", "job-name", "kill-on-invalid-dep", "no-requeue", "nodes", "ntasks", "open-mode"),
    *("output", "requeue", "signal", "test-only", "time", "time-min", "wait", "wrap"),
)
_GPUS = "the field gpus (sent as --gpus-per-node), or gres where a site wants that: gres: gpu:a100:1"
_INSTEAD = {  # options that are fields, or that Slurm does not take beside ours -> the field
    **{name: f"the field {name}" for name in ("account", "constraint", "partition", "qos")},
    **{"mem": "the field memory", "cpus-per-task": "the field cpus", "cpus-per-gpu": "the field cpus", "gres": "the field gres"},
    **dict.fromkeys(("gpus", "gpus-per-node", "gpus-per-socket", "gpus-per-task"), _GPUS),
}
_MEMORY = ("mem-per-cpu", "mem-per-gpu")  # in place of --mem


def _refuse(condition: bool, name: str, value: object, accepted: str) -> None:
    if condition:
        raise ConfigError(f"{name}={value!r}; accepted: {accepted}")


def _filled(data: Mapping[str, Any], **empty: object) -> dict[str, Any]:
    """`data` with what is empty in place of null."""
    return {name: empty.get(name) if value is None else value for name, value in data.items()}


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What one array task gets. None leaves the choice to the cluster's own default."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time_limit: str = "4:00:00"  # [days-]hours:minutes:seconds; a task that needs longer is requeued and goes on
    cpus: int = 2
    memory: str | None = None  # of the task, e.g. 16G
    gpus: int = 0  # of the task; each has a worker of its own, which shares cpus and memory with the others
    gres: str | None = None  # e.g. gpu:a100:1, where --gpus-per-node is not wanted; gpus says the same number
    max_running: int | None = None  # window: tasks of a stage that run at the same time, over all of its arrays
    options: tuple[str, ...] = ()  # further sbatch options, e.g. --exclusive

    def check(self, section: str) -> "Resources":
        """Itself. Raises ConfigError naming the section of the site config if it cannot be."""
        try:
            self._check()
        except ConfigError as err:
            raise ConfigError(f"{section}: {err}") from err
        return self

    def _check(self) -> None:
        for name in ("partition", "account", "qos", "constraint", "memory", "gres"):
            value = getattr(self, name)
            _refuse(value is not None and not _VALUE.fullmatch(value), name, value, "one word, or nothing")
        _refuse(self.cpus < 1, "cpus", self.cpus, "1 or more")
        _refuse(self.gpus < 0, "gpus", self.gpus, "0 or more")
        asked = sum(int(match["count"] or 1) for part in (self.gres or "").split(",") if (match := _GRES.fullmatch(part)))
        _refuse(asked not in (0, self.gpus), "gpus", self.gpus, f"{asked}, as gres={self.gres!r} asks for")
        _refuse(self.max_running is not None and self.max_running < 1, "max_running", self.max_running, "1 or more, or null")
        for option in self.options:
            self._check_option(option)
        _refuse(self.seconds < 60, "time_limit", self.time_limit, "one minute or more: Slurm counts in minutes")

    def _check_option(self, option: str) -> None:
        match = _OPTION.fullmatch(option)
        accepted = "--name or --name=value; the value as it is meant, blanks too, but no quotes, backslashes or line breaks"
        _refuse(match is None, "options", option, accepted)
        name = match[1] if match else ""
        is_own = any(own.startswith(name) for own in _OWN_OPTIONS)  # sbatch takes their beginnings as well
        _refuse(is_own, "options", option, f"any but {', '.join(_OWN_OPTIONS)}, which passerby sets; the time is time_limit")
        field_instead = next((instead for own, instead in _INSTEAD.items() if own.startswith(name)), None)
        _refuse(field_instead is not None, "options", option, f"in its place {field_instead}")
        both = self.memory is not None and any(own.startswith(name) for own in _MEMORY)
        _refuse(both, "options", option, f"only beside memory: null, since Slurm takes no --mem (memory={self.memory!r}) with it")

    @property
    def seconds(self) -> int:
        """The time limit in seconds. Raises ConfigError if it is not a time."""
        if not _TIME.fullmatch(self.time_limit):
            raise ConfigError(f"time_limit={self.time_limit!r}; accepted: [days-]hours:minutes:seconds in quotes, e.g. '4:00:00'")
        days, dash, rest = self.time_limit.rpartition("-")
        parts = [int(part) for part in rest.split(":")]
        filling = [0] * (3 - len(parts))  # behind days hours come first, without days seconds last: as Slurm reads it
        hours, minutes, seconds = [*parts, *filling] if dash else [*filling, *parts]
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


_GPU = Resources(gpus=1, cpus=8, memory="32G")
_CPU = Resources(cpus=4, memory="8G")


@dataclass(frozen=True, kw_only=True)
class SiteConfig:
    """One cluster. configs/site.example.yaml shows every field, unusual ones commented out."""

    gpu: Resources = _GPU  # generate, caption, fused
    cpu: Resources = _CPU  # the other stages
    stages: dict[str, dict[str, Any]] = field(default_factory=dict)  # stage -> the fields of Resources that it has otherwise
    units_per_task: int = 16  # units (of run.unit_size images) that one array task makes, one after the other
    max_array_size: int | None = None  # None: what `scontrol show config` says
    setup: tuple[str, ...] = ()  # shell lines before the work: module load, source venv/bin/activate
    python: str | None = None  # interpreter with passerby on the nodes, outside any container; None: the one that submits
    worker: tuple[str, ...] = ()  # the stage command up to its name, e.g. a container; (): PYTHON -m generation
    templates: Path | None = None  # folder with array.sbatch and single.sbatch; None: slurm/ of the checkout
    warning_s: int = 300  # before the time limit a task is told to finish the unit in hand
    drop_s: int = 60  # so long before the limit a unit still in hand is dropped, and the task requeued
    fruitless_starts: int = 3  # starts of a task that finished no unit, before it gives up

    def __post_init__(self) -> None:
        _refuse(self.units_per_task < 1, "units_per_task", self.units_per_task, "1 or more")
        _refuse(self.max_array_size is not None and self.max_array_size < 1, "max_array_size", self.max_array_size, "1 or more, or null")
        _refuse(self.fruitless_starts < 1, "fruitless_starts", self.fruitless_starts, "1 or more")
        _refuse(not 5 <= self.drop_s < self.warning_s, "drop_s", self.drop_s, f"5 to below warning_s={self.warning_s}")
        known = (*(spec.name for spec in graph.STAGES), graph.FUSED)
        for name in self.stages:
            _refuse(name not in known, "stages", name, ", ".join(known))
        sections = (self.gpu.check("gpu"), self.cpu.check("cpu"), *map(self.resources, self.stages))
        shortest = min(resources.seconds for resources in sections)
        _refuse(self.warning_s >= shortest, "warning_s", self.warning_s, f"less than the shortest time_limit ({shortest} s)")

    @staticmethod
    def expanded(data: Mapping[str, Any]) -> dict[str, Any]:
        """A section that names some fields of `gpu` or `cpu` keeps the others of ours: naming a partition does not give the GPU away.

        A section or list whose every line is commented out is empty.
        """
        whole = _filled(data, gpu={}, cpu={}, stages={}, setup=(), worker=())
        for name, ours in (("gpu", _GPU), ("cpu", _CPU)):
            if isinstance(given := whole.get(name), Mapping):
                whole[name] = {**asdict(ours), **_filled(given, options=())}
        if isinstance(stages := whole.get("stages"), Mapping):
            whole["stages"] = {
                name: _filled(given or {}, options=()) if isinstance(given, Mapping | None) else given for name, given in stages.items()
            }
        return whole

    def resources(self, stage: str) -> Resources:
        """What a task of a stage command gets. Raises ConfigError if what `stages` says of it cannot be."""
        base = self.gpu if graph.resource(stage) == "gpu" else self.cpu
        given = self.stages.get(stage)
        section = f"stages.{stage}"
        return build(Resources, {**asdict(base), **given}, section).check(section) if given else base
