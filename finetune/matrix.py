"""Train on A, test on B: every trained checkpoint on the test split of every data set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from finetune.best import find_checkpoint
from finetune.evaluate import open_for
from finetune.recipes import Recipe
from finetune.tasks import test_task
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import read_json
from pipeline.paths import SUMMARY_FILE


def cross_domain(configs: Sequence[Recipe], score: str = "recall@1") -> dict[str, Any]:
    """{"score", "rows": {name of training: {name of data set: value}}, "protocol": {name of training: how it was selected}}.

    Rows are the trainings of `configs` (the best checkpoint of each `out`), columns their data sets. Raises ConfigError if two configs
    share a name or a training is not finished.
    """
    names = [f"{config.method}:{config.data.name}" for config in configs]
    if len(set(names)) < len(names):
        raise ConfigError(f"two of the configs are {max(names, key=names.count)}; give one training per method and data set")
    columns = {config.data.name: (config, test_task(config.data)) for config in configs}
    rows: dict[str, dict[str, float | None]] = {}
    protocols = {}
    for name, config in zip(names, configs, strict=True):
        protocols[name] = _protocol(config)
        rows[name], searcher = {}, open_for(config, Path(config.out))
        for column, (other, task) in columns.items():
            rows[name][column] = None if task is None else task.run(searcher, other.eval)["all"].get(score)
    return {"score": score, "rows": rows, "protocol": protocols}


def _protocol(config: Recipe) -> str:
    path = Path(config.out) / SUMMARY_FILE
    find_checkpoint(path.parent)  # refuses what `--seeds` wrote
    if not path.is_file():
        raise ConfigError(f"{config.out} holds no finished training (no summary.json); train it first")
    return read_json(path)["protocol"]


def table(result: dict[str, Any]) -> str:
    """Percent, one row per training."""
    columns = list(next(iter(result["rows"].values())))
    lines = [f"{result['score']:28}" + "".join(f"{column:>14}" for column in columns)]
    for name, row in result["rows"].items():
        cells = "".join(f"{'-' if row[c] is None else f'{100 * row[c]:.2f} %':>14}" for c in columns)
        lines.append(f"{name:28}{cells}  {result['protocol'][name]}")
    return "\n".join(lines)
