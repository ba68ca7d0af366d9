"""Where everything of a run lies (DESIGN.md 3). One place knows the names of folders and files; stages and orchestration ask it."""

from dataclasses import dataclass
from pathlib import Path

_FOLDERS = {"shard": "shards"}  # the verb names the stage, the noun its product, which outlives the run


@dataclass(frozen=True, slots=True)
class RunPaths:
    """Paths below one run folder. Unit numbers are written with six digits, so that listings sort."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

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
    return (folder / "metrics.jsonl").is_file() or any(any(found) for found in checkpoints)
