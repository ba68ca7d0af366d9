"""Names of everything in the demo's folder, in one place for the steps that write and the collection that reads."""

from dataclasses import dataclass
from pathlib import Path

GROUPS = ("pretrained", "scratch")
FINETUNE = "finetune-"  # begins the name of each fine-tuning's step


@dataclass(frozen=True, slots=True)
class DemoPaths:
    """Paths below the demo's folder."""

    root: Path

    @property
    def marker(self) -> Path:
        """Written first: says that a demo made this folder, and so may remove it."""
        return self.root / "demo.json"

    @property
    def generation(self) -> Path:
        """The run folder."""
        return self.root / "generation"

    @property
    def miniature(self) -> Path:
        return self.root / "miniature"

    @property
    def pretrain(self) -> Path:
        return self.root / "pretrain"

    def finetune(self, group: str) -> Path:
        """Holds seed-N/ for each seed, and seeds.json."""
        return self.root / "finetune" / group

    @property
    def submission(self) -> Path:
        return self.root / "submission.json"

    @property
    def submission_score(self) -> Path:
        return self.root / "submission-score.json"

    def record(self, step: str) -> Path:
        return self.root / "steps" / f"{step}.json"

    def log(self, step: str) -> Path:
        return self.root / "logs" / f"{step}.log"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"
