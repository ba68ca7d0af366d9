"""The same fine-tuning from several seeds: what a difference between two recipes must be compared with."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from finetune.recipes import Recipe
from finetune.train import train
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_json
from pipeline.signals import StopRequest


def train_seeds(config: Recipe, seeds: Sequence[int], stop: StopRequest) -> dict[str, Any]:
    """Train in OUT/seed-N for each seed and write OUT/seeds.json: "data_set", its name; "protocol", how the checkpoints were selected;
    "val" and, where its answers are known, "test" -> kind -> score -> {mean, std, values}.

    std is the sample standard deviation (n - 1). Trainings that are finished are not repeated. Raises ConfigError for fewer than two seeds.
    """
    if len(set(seeds)) < 2 or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds {list(seeds)}; accepted: at least two different ones, because a spread is reported")
    summaries = [train(config.with_seed(seed, str(Path(config.out) / f"seed-{seed}")), stop) for seed in seeds]
    if not all(summaries):  # on the first rank alone
        return {}
    known = [split for split in ("val", "test") if summaries[0][split]]
    scores = {split: spread([summary[split] for summary in summaries]) for split in known}
    result = {"seeds": list(seeds), "data_set": config.data.name, "protocol": config.eval.selection, **scores}
    write_json(Path(config.out) / "seeds.json", result)
    return result


def spread(runs: Sequence[dict[str, dict[str, float]]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Scores of several runs, kind -> score -> value, as kind -> score -> {mean, std, values}.

    values: in the order of the runs, None where a score is not defined; mean and std are over the others, std is None for a single one.
    """
    names = {kind: dict.fromkeys(name for run in runs for name in run[kind]) for kind in runs[0]}
    return {kind: {name: _group([run[kind].get(name) for run in runs]) for name in found} for kind, found in names.items()}


def _group(values: Sequence[float | None]) -> dict[str, Any]:
    defined = [value for value in values if value is not None]
    return {"mean": fmean(defined), "std": stdev(defined) if len(defined) > 1 else None, "values": list(values)}
