"""What looks at a training from beside it: a guard against jumps of the loss, and retrieval on held-out shards now and then."""

import logging
import statistics
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pretrain.config import PretrainConfig
from pretrain.distributed import rank
from pretrain.evaluate import rank_split, scores_of
from pretrain.loop import WayOut
from pretrain.mixture import Samples, open_gallery
from pretrain.models.aptm import APTM
from pretrain.tokenizer import CaptionTokenizer

WINDOW = 50  # steps whose median a loss is compared with
log = logging.getLogger("pretrain")


class SpikeGuard:
    """Compares each total with the median of those of the steps before it."""

    def __init__(self, factor: float, way_out: WayOut, recent: Iterable[float] = ()) -> None:
        """factor 0: never stops anything. recent: totals before a continuation, as its checkpoint has them."""
        self._factor, self._way_out = factor, way_out
        self._recent = deque(recent, maxlen=WINDOW)

    @property
    def recent(self) -> list[float]:
        """The totals that the next one is compared with, oldest first."""
        return list(self._recent)

    def check(self, total: float, step: int) -> None:
        """total is the same on all ranks, so all of them stop. step: steps that are done. Raises StageError before the next is taken."""
        if self._factor and len(self._recent) == WINDOW:
            usual = statistics.median(self._recent)
            if total > self._factor * usual:
                raise StageError(
                    f"the total loss jumped to {total:.4g} at step {step + 1}, {total / usual:.1f} times the median of {WINDOW} steps; "
                    f"nothing was updated; raise train.spike_factor={self._factor:g} and run again to go on, or {self._way_out.text()}"
                )
        self._recent.append(total)


def open_held_out(config: PretrainConfig) -> Samples | None:
    """What `Validation` scores, None if it never does. Raises ConfigError for shards without that split: at the start, not hours later."""
    if not config.train.validate_every:
        return None
    try:
        return open_gallery(config.data)
    except ContractError as err:
        raise ConfigError(
            f"train.validate_every={config.train.validate_every} needs data.eval_split={config.data.eval_split}: {err}; "
            "set train.validate_every=0 to train without validation, or name a split that is there"
        ) from err


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """Scores the held-out split now and then; the ranks share the work."""

    config: PretrainConfig
    held_out: Samples | None  # None: never
    model: APTM
    tokenizer: CaptionTokenizer
    num_steps: int

    def is_due(self, step: int) -> bool:
        """After `step` steps."""
        return self.held_out is not None and step > 0 and (step % self.config.train.validate_every == 0 or step == self.num_steps)

    def run(self, step: int) -> dict[str, float | None]:
        """Where it is due. Leaves the model in training mode."""
        assert self.held_out is not None
        self.model.eval()
        found = scores_of(self.config, self.held_out, *rank_split(self.config, self.model, self.tokenizer, self.held_out))
        self.model.train()
        plain = {
            f"similarity_{name}": found["similarity"][name] for name in ("recall@1", "map")
        }  # a matching head still at chance hides them
        scores = {**found["retrieval"], **plain, "attributes": found["attributes"]["mean"]}
        if rank() == 0:
            shown = scores["recall@1"], scores["similarity_recall@1"]
            log.info("step %d/%d, held out: recall@1 %.3f, by similarity alone %.3f", step, self.num_steps, *shown)
        return scores
