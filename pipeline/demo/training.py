"""What the trainings wrote: loss curves of pre-training, retrieval scores of the fine-tunings. Reads summary.json and metrics.jsonl."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.contracts.errors import ContractError
from pipeline.fileio import read_json
from pipeline.paths import SUMMARY_FILE

OBJECTIVES = ("itc", "itm", "mlm", "iac", "iam", "mam")
SCORES = {
    "recall@1": "recall_at_1",
    "recall@5": "recall_at_5",
    "recall@10": "recall_at_10",
    "map": "map",
    "minp": "minp",
    "map@10": "map_at_10",
    "official": "official_map_at_10",
}
History = dict[str, tuple[list[int], list[float]]]  # objective -> (steps, values)


def read_losses(folder: Path) -> dict[str, dict[str, float]]:
    """objective -> {"first", "last"} from the summary of a pre-training. Raises ContractError if an objective is absent or null."""
    losses = read_json(folder / SUMMARY_FILE)["losses"]
    if missing := [name for name in OBJECTIVES if None in losses.get(name, {"last": None}).values()]:
        raise ContractError(f"{folder / SUMMARY_FILE}: no losses of {', '.join(missing)}; the demo needs all six objectives")
    return {name: {"first": float(losses[name]["first"]), "last": float(losses[name]["last"])} for name in OBJECTIVES}


def read_history(path: Path) -> History:
    """Loss curves from metrics.jsonl; lines without losses (validation) are passed over, a step that was trained twice counts once."""
    curves: dict[str, dict[int, float]] = {name: {} for name in OBJECTIVES}
    for row in read_lines(path):
        for name in OBJECTIVES:
            if (value := row.get(f"train/{name}")) is not None:
                curves[name][int(row["step"])] = float(value)
    return {name: (sorted(curve), [curve[step] for step in sorted(curve)]) for name, curve in curves.items()}


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file that may be being written: an unfinished last line is left out, an absent file is empty."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines[:-1] if line.strip()]


def compare(pretrained: Mapping[str, Any], scratch: Mapping[str, Any]) -> dict[str, Any]:
    """Two seeds.json of the same seeds -> the measures over all queries, and the same under each kind.

    {"seeds", "recall_at_1": {"pretrained": {"mean", "std", "values"}, "scratch": {...}, "difference"}, ..., "pedestrian": {"recall_at_1":
    ...}, "vehicle": ...}; std is the sample standard deviation (n - 1), difference that of the means. Raises ContractError if the seeds
    differ.
    """
    if pretrained["seeds"] != scratch["seeds"]:
        raise ContractError(f"fine-tunings with other seeds cannot be compared: {pretrained['seeds']} and {scratch['seeds']}")
    result = {"seeds": pretrained["seeds"], **_compare_kind(pretrained["test"]["all"], scratch["test"]["all"])}
    kinds = [kind for kind in pretrained["test"] if kind != "all"]
    return result | {kind: _compare_kind(pretrained["test"][kind], scratch["test"][kind]) for kind in kinds}


def _compare_kind(pretrained: Mapping[str, Any], scratch: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: {
            "pretrained": pretrained[source],
            "scratch": scratch[source],
            "difference": pretrained[source]["mean"] - scratch[source]["mean"],
        }
        for source, name in SCORES.items()
    }
