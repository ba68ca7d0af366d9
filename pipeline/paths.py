"""Where everything of a run lies (docs/architecture.md). One place knows the names of folders and files; all others ask it."""

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.contracts.errors import ConfigError
from pipeline.graph import STAGES

CONFIG_FILE, MANIFEST_FILE, INDEX_FILE = "config.yaml", "manifest.json", "index.parquet"
METRICS_FILE, SUMMARY_FILE = "metrics.jsonl", "summary.json"  # of a training
_FOLDERS = {"shard": "shards"}  # the verb names the stage, the noun its product, which outlives the run


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Paths below one run folder. Unit numbers are written with six digits, so that listings sort."""

    root: Path

    @property
    def typed(self) -> str:
        """The folder as one types it in a shell."""
        return shlex.quote(str(self.root))

    @property
    def config(self) -> Path:
        return self.root / CONFIG_FILE

    @property
    def lock(self) -> Path:
        return self.root / ".lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def slurm(self) -> Path:
        """Submissions, their scripts and what their tasks tell of themselves."""
        return self.root / "slurm"

    def records(self, stage: str) -> Path:
        """The cache of all done records of a stage."""
        return self.root / ".records" / f"{stage}.cache"

    @property
    def num_prompts(self) -> Path:
        """How many prompts the files of the recipe hold, while the stage that says so is not done."""
        return self.root / ".records" / "num_prompts.json"

    def stage(self, stage: str) -> Path:
        return self.root / _FOLDERS.get(stage, stage)

    def units(self, stage: str, unit: int, ext: str) -> Path:
        """ext without a dot: "parquet" for rows, "tar" for pictures."""
        return self.stage(stage) / "units" / f"{unit:06d}.{ext}"

    def done(self, stage: str, unit: int) -> Path:
        return self.stage(stage) / "done" / f"{unit:06d}.json"

    def checked(self, stage: str) -> Path:
        """Which check the output of a stage has passed: it may be asked for after the stage was done."""
        return self.stage(stage) / "checked.json"

    @property
    def prompts_read(self) -> Path:
        """How many texts the files of the recipe held, and why some became no prompt."""
        return self.stage("prompts") / "read.json"

    @property
    def redecided(self) -> Path:
        """What a `redecide` that was stopped may have given to units: config digest -> filter.thresholds."""
        return self.stage("filter") / "redecide.json"

    def ledger(self, stage: str, unit: int) -> Path:
        return self.stage(stage) / "ledger" / f"{unit:06d}.parquet"

    def log(self, stage: str, task: int) -> Path:
        return self.logs / f"{stage}-{task:04d}.log"

    def relative(self, path: Path) -> str:
        """The name under which a file stands in a done record: below the run folder, with forward slashes."""
        return path.relative_to(self.root).as_posix()

    def done_units(self, stage: str) -> list[int]:
        """Units that have a done record, of whatever digest, sorted."""
        folder = self.stage(stage) / "done"
        if not folder.is_dir():
            return []
        return sorted(int(p.stem) for p in folder.glob("[0-9]*.json") if p.stem.isdigit())


def is_training(folder: Path) -> bool:
    """Whether a pre-training or fine-tuning has begun to write there."""
    checkpoints = (folder.glob(f"checkpoint/{kind}-*/metadata.json") for kind in ("step", "best"))
    return (folder / METRICS_FILE).is_file() or any(any(found) for found in checkpoints)


def is_run(folder: Path) -> bool:
    """Whether a generation run has begun to write there."""
    paths = RunPaths(folder)
    return any((paths.stage(spec.name) / "done").is_dir() for spec in STAGES)


def set_path(name: str, folder: Path) -> str:
    """A `--set` item that gives a field this path."""
    return f"{name}={json.dumps(str(folder))}"  # JSON text is YAML, whatever the folder's name


def of_run(config: Path, overrides: Sequence[str]) -> tuple[Path, list[str]]:
    """CONFIG or RUN -> (YAML file, `--set` items). A run folder and its config.yaml mean the run in that folder, wherever it lies now.

    Items that name a run or a folder make of both a recipe for that one: a name stands for runs/NAME, whatever folder the file holds.
    Raises ConfigError if there is no such file.
    """
    if not config.exists():
        raise ConfigError(f"{config} does not exist; accepted: a recipe (configs/generation/*.yaml) or the folder of a run")
    file = RunPaths(config).config if config.is_dir() else config
    if not file.exists():
        raise ConfigError(f"{config} holds no config.yaml; accepted: a recipe or the folder of a run that was started")
    if config.is_dir() and is_training(config):
        raise ConfigError(f"{config} is the folder of a training; accepted: a recipe or the folder of a generation run")
    named = {item.partition("=")[0] for item in overrides}
    if named & {"run", "run.folder"}:
        return file, list(overrides)
    if "run.name" in named:
        return file, [*overrides, "run.folder=null"]
    if config.is_dir() or (config.name == CONFIG_FILE and is_run(config.parent)):
        return file, [*overrides, set_path("run.folder", file.parent)]
    return file, list(overrides)
