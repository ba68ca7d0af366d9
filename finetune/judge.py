"""Validation during a training: now and then, on the first rank, and the best model is kept."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.best import best_metadata, save_best
from finetune.methods.base import Method
from finetune.protocol import MEASURED_ON
from finetune.recipes import Recipe
from finetune.tasks import Task
from pretrain.distributed import barrier
from pretrain.metrics_log import MetricsLog

log = logging.getLogger("finetune")


@dataclass(frozen=True, slots=True, kw_only=True)
class Judge:
    """identity: of the training, written into its best checkpoint, as is extra. num_steps: the validations are spread over so many."""

    config: Recipe
    root: Path  # OUT/checkpoint
    identity: str
    extra: Mapping[str, Any]
    task: Task
    method: Method
    num_steps: int

    def is_due(self, step: int) -> bool:
        """Is there a validation after so many steps? There is one after the last."""
        times = self.config.eval.times
        return step in {round(self.num_steps * (i + 1) / times) for i in range(times)}

    def validate(self, step: int, metrics: MetricsLog | None) -> None:
        """Every rank calls it. Scores over all queries go into the line of this step, which rank 0 has. A tie keeps the best so far."""
        if metrics:
            metrics.add_scores(step, self._measure(step))
        barrier()

    def _measure(self, step: int) -> dict[str, float]:
        select = self.config.eval.select
        with self.method.averaged():
            measured = self.task.run(self.method.searcher, self.config.eval)
            scores, best = measured["all"], best_metadata(self.root)
            if best is None or scores[select] > best["val"]["all"][select]:
                facts = {"val": measured, MEASURED_ON: self._measured_on(), **self.extra, "training": self.identity}
                save_best(self.root, step, self.method.save, facts)
        self.method.model.train()
        log.info("step %d/%d, validation %s %.3f", step, self.num_steps, select, scores[select])
        return scores

    def _measured_on(self) -> dict[str, Any]:
        """What the scores of "val" are of; the published protocol chooses on test."""
        return {"data_set": self.config.data.name, "split": "test" if self.config.eval.paper_protocol else "val", **self.task.sizes}
