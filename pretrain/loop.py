"""What every training loop of ours does between its steps: agree over ranks, report, save, and find its way back.

Used by `pretrain.train` and `finetune.train`, which differ in their data, their losses and when they validate.
"""

import shlex
import socket
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config import apply_overrides, changed_fields, read_yaml
from pipeline.contracts.attributes import MISSING
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.paths import set_path
from pipeline.signals import StopRequest
from pretrain import checkpoint
from pretrain.distributed import any_rank, barrier, gather_objects, mean_over_ranks, rank, world_size
from pretrain.engine import Engine
from pretrain.metrics_log import MetricsLog
from pretrain.objective import RIGHT, ROWS

GRADIENT_NORM = "gradient_norm"  # the term that is the same on all ranks
ATTRIBUTE_TERMS = frozenset({"iac", "mam", "ac"})  # 0 where no row states an attribute, which is no loss; IAM counts its rows itself


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a training stands. position: samples of the global stream that are done; it alone says what comes next."""

    step: int = 0
    position: int = 0
    seconds: float = 0.0

    def text(self, num_steps: int, values: Mapping[str, float]) -> str:
        """A line for the log."""
        left = self.seconds / self.step * (num_steps - self.step)
        losses = " ".join(f"{name} {value:.3f}" for name, value in values.items())
        return f"step {self.step}/{num_steps}, {losses}, {left:.0f} s left"


@dataclass(frozen=True, slots=True)
class WayOut:
    """Of a loss that stops a training: the same settings would meet it again, and others make another training.

    root: OUT/checkpoint. config: a recipe, with `optim` and `init`.
    """

    root: Path
    config: Any

    def text(self) -> str:
        """What to do, for an error message."""
        gentler = "lower optim.lr" if self.config.optim.clip_norm else "lower optim.lr or set optim.clip_norm"
        folder = checkpoint.latest(self.root)
        if folder is None:
            return f"{gentler} and run again; there is no checkpoint yet"
        others = [f"init.{name}=null" for name in ("swin", "bert", "weights") if getattr(self.config.init, name, None)]
        start = " ".join([_typed("init.checkpoint", folder), *others])
        return f"{gentler} in another `out`, with {start}: moments, schedule and place in the data begin anew"


def _typed(name: str, folder: Path) -> str:
    """A `--set` item as one types it in a shell."""
    plain, exact = f"{name}={folder}", set_path(name, folder)
    with suppress(ConfigError):  # not every name is YAML, as "@1"
        if shlex.quote(plain) == plain and apply_overrides({}, [plain]) == apply_overrides({}, [exact]):
            return plain
    return shlex.quote(exact)


def absent_terms(labels: Tensor) -> frozenset[str]:
    """Terms over nothing in a batch of these labels (B, A), on the CPU: those of attributes, if it states none, without IAM."""
    return ATTRIBUTE_TERMS if bool((labels == MISSING).all()) else frozenset()


def agree(
    terms: Mapping[str, Tensor],
    total: Tensor,
    step: int,
    stop: StopRequest,
    keys: Sequence[str],
    absent: Collection[str],
    way_out: WayOut,
) -> tuple[dict[str, float], bool]:
    """Values, mean over ranks, and whether some rank was asked to leave. All ranks raise StageError if one sees a non-finite value.

    step: steps that are done. keys: the samples of this rank's batch, for that message, as is way_out. absent: terms over nothing on this
    rank; those that are so on all ranks have no value. What `pretrain.objective.judged` counted becomes NAME_accuracy.
    """
    stacked = torch.stack([*terms.values(), total]).detach()
    names = [*terms, "total"]
    known = torch.tensor([*(name not in absent for name in names), stop.received is not None], device=stacked.device)
    *flags, leaving = any_rank(torch.cat([~stacked.isfinite(), known])).tolist()
    broken, present = flags[: len(names)], flags[len(names) :]
    if any(broken):
        bad = ", ".join(name for name, flag in zip(names, broken, strict=True) if flag)
        where = _culprits(dict(zip(names, stacked.isfinite().tolist(), strict=True)), keys)
        raise StageError(f"not finite at step {step + 1}: {bad}; nothing was updated ({where}); {way_out.text()}")
    means = zip(names, mean_over_ranks(stacked).tolist(), present, strict=True)
    return _with_accuracies({name: mean for name, mean, is_there in means if is_there}), leaving


def _with_accuracies(means: Mapping[str, float]) -> dict[str, float]:
    """NAME_right over NAME_rows as NAME_accuracy, in their place; without rows there is none, and no loss NAME either."""
    found = dict(means)
    for name in [counted.removesuffix(ROWS) for counted in means if counted.endswith(ROWS)]:
        right, rows = found.pop(f"{name}{RIGHT}"), found.pop(f"{name}{ROWS}")
        if rows:
            found[f"{name}_accuracy"] = right / rows
        else:
            found.pop(name)
    return found


def _culprits(finite: Mapping[str, bool], keys: Sequence[str]) -> str:
    """Ranks and their samples: those whose own losses are not finite, or all where only the gradients, which all share, are not."""
    own = all(flag for name, flag in finite.items() if name != GRADIENT_NORM)
    found = gather_objects((own, ", ".join(keys) or "samples unknown"))
    named = [(number, samples) for number, (sound, samples) in enumerate(found) if not sound]
    return "; ".join(f"rank {number}: {samples}" for number, samples in named or [(n, s) for n, (_, s) in enumerate(found)])


def newest(root: Path, identity: str, config: Any = None) -> Path | None:
    """The newest checkpoint of the training `identity` below OUT/checkpoint. Every rank calls it.

    Raises ConfigError if the ranks would not continue the same training at the same step, or if OUT holds a checkpoint from elsewhere;
    ContractError if the folder holds another training; with `config`, it says what differs from OUT/config.yaml.
    """
    folder = checkpoint.latest(root)
    _check_ranks(identity, folder.name if folder else "no checkpoint")
    checkpoint.check_own(root)
    if folder and checkpoint.read_facts(folder).get("training") != identity:
        changes = _changes(root.parent, config) if config else ""
        raise ContractError(
            f"{root} holds the training of another config or other data{changes}; "
            "put back what was changed, or give another `out`, or delete it"
        )
    return folder


def _check_ranks(identity: str, found: str) -> None:
    first, *others = gather_objects((identity, found, socket.gethostname()))
    for number, (training, start, node) in enumerate(others, start=1):
        if training != first[0]:
            raise ConfigError(
                f"rank {number} on {node} has another config or other data than the first rank on {first[2]}; "
                "give every node the same recipe, the same code, and copies of the same data"
            )
        if start != first[1]:
            raise ConfigError(
                f"rank {number} on {node} finds {start} in `out`, the first rank on {first[2]} {first[1]}; "
                "it must be one folder that all nodes share"
            )


def _changes(out: Path, config: Any) -> str:
    """In brackets, at most four fields that are not as OUT/config.yaml has them; empty where there is no such file."""
    try:
        found = changed_fields(read_yaml(out / "config.yaml"), config.training_tree())
    except ConfigError:
        return ""
    # config.yaml also has fields that are none of a training's identity
    changed = [f"{name} {change}" for name, change in found.items() if not change.endswith("-> unset")]
    if not changed:
        return " (what its fields name: data, vocabulary or weights)"
    return f" ({', '.join(changed[:4])}{', …' if len(changed) > 4 else ''})"


def is_finished(folder: Path | None, num_steps: int) -> bool:
    """Is `folder` the checkpoint of the last step?"""
    return folder is not None and checkpoint.read_facts(folder)["step"] == num_steps


def restore(folder: Path, engine: Engine, load: Callable[[Path], object]) -> Progress:
    """The state of the optimizer, weights and what else `load` reads of the folder, and where the training stood."""
    load(folder)
    engine.load_state(folder / checkpoint.TRAINING_STATE)
    metadata = checkpoint.read_facts(folder)
    return Progress(metadata["step"], metadata["position"], metadata["seconds"])


def owes_scores(metrics: MetricsLog | None, step: int, lost: bool = False) -> bool:
    """Was the training left after `step`, which is one of a validation, without its scores? Then it is made up first.

    lost: what the scores have chosen is no longer there. Every rank calls it; the first one, which has `metrics`, says so.
    """
    return bool(gather_objects(metrics is not None and (lost or not metrics.has_scores(step)))[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class Saver:
    """Writes the checkpoints of one training."""

    root: Path  # OUT/checkpoint
    save_model: Callable[[Path, dict[str, Any]], None]  # of a folder and its metadata: everything but the optimizer, metadata last
    engine: Engine
    identity: str
    keep: int  # newest checkpoints that stay
    extra: Mapping[str, Any] = field(default_factory=dict)  # further metadata

    def save(self, progress: Progress, further: Mapping[str, Any] | None = None) -> None:
        """Every rank calls it; the folder counts once rank 0 has written its metadata. further: metadata of this checkpoint alone."""
        folder = checkpoint.step_folder(self.root, progress.step)
        if rank() == 0:
            checkpoint.clear(folder)
        self.engine.save_state(folder / checkpoint.TRAINING_STATE)
        barrier()
        if rank() == 0:
            state = {"step": progress.step, "position": progress.position, "seconds": round(progress.seconds, 3)}
            facts = {**state, **self.extra, **(further or {}), "training": self.identity, "world_size": world_size()}
            self.save_model(folder, facts)
            checkpoint.publish(self.root, folder, self.keep)
        barrier()
