"""What looks at a training from beside it: a guard against jumps of the loss, and retrieval on held-out shards now and then."""

import logging
import statistics
from collections import deque
from pathlib import Path

from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pretrain.config import PretrainConfig
from pretrain.distributed import rank
from pretrain.evaluate import rank_split, scores_of
from pretrain.metrics_log import read_lines
from pretrain.mixture import Samples, open_samples
from pretrain.models.aptm import APTM
from pretrain.tokenizer import CaptionTokenizer

WINDOW = 50  # steps whose median a loss is compared with
log = logging.getLogger("pretrain")


class SpikeGuard:
    """Compares each total with the median of the logged steps before it, also of those before a continuation."""

    def __init__(self, factor: float, metrics_path: Path, first_step: int) -> None:
        """factor 0: never stops anything."""
        self._factor = factor
        totals = [line["train/total"] for line in read_lines(metrics_path) if line["step"] <= first_step]
        self._recent = deque(totals, maxlen=WINDOW)

    def check(self, total: float, step: int) -> None:
        """total is the same on all ranks, so all of them stop. Raises StageError before the step is taken."""
        if self._factor and len(self._recent) == WINDOW:
            usual = statistics.median(self._recent)
            if total > self._factor * usual:
                raise StageError(
                    f"the total loss jumped to {total:.4g} at step {step}, {total / usual:.1f} times the median of {WINDOW} steps; "
                    f"nothing was updated; lower optim.lr, set optim.clip_norm, or raise train.spike_factor={self._factor:g}"
                )
        self._recent.append(total)


def open_held_out(config: PretrainConfig) -> Samples | None:
    """What `validate` scores, None if it never does. Raises ConfigError for shards without that split: at the start, not hours later."""
    if not config.train.validate_every:
        return None
    try:
        return open_samples(config.data.shards, config.data.eval_split, config.data.attributes is not None)
    except ContractError as err:
        raise ConfigError(
            f"train.validate_every={config.train.validate_every} needs data.eval_split={config.data.eval_split}: {err}; "
            "set train.validate_every=0 to train without validation, or name a split that is there"
        ) from err


def validate(
    config: PretrainConfig, held_out: Samples | None, model: APTM, tokenizer: CaptionTokenizer, step: int, num_steps: int
) -> dict[str, float]:
    """Scores on the held-out split if it is time, else nothing; the ranks share the work. Leaves the model in training mode."""
    if held_out is None or (step % config.train.validate_every and step != num_steps):
        return {}
    model.eval()
    found = scores_of(config, held_out, *rank_split(config, model, tokenizer, held_out))
    model.train()
    plain = {f"similarity_{name}": found["similarity"][name] for name in ("recall@1", "map")}  # a matching head still at chance hides them
    scores: dict[str, float] = {**found["retrieval"], **plain, "attributes": found["attributes"]["mean"]}
    if rank() == 0:
        log.info(
            "step %d/%d, held out: recall@1 %.3f, by similarity alone %.3f",
            step,
            num_steps,
            scores["recall@1"],
            scores["similarity_recall@1"],
        )
    return scores
