"""The result of an ablation as Markdown, and what can be said of each row: pure functions of the numbers."""

from itertools import pairwise
from statistics import fmean, stdev
from typing import Any

from finetune.datasets.records import KINDS

COLUMNS = (
    ("all", "official"),
    ("all", "map@10"),
    *((kind, score) for kind in KINDS for score in ("map@10", "recall@1", "map")),
)
TITLES = {"official": "official", "map@10": "AP@10", "recall@1": "R@1", "map": "mAP"}
JUDGED = "map@10"


def verdict(before: list[float], after: list[float], guess: float = 0.0) -> str:
    """Runs of equal place have the same seed. Said only where every seed agrees and the mean difference exceeds its own spread, and only
    of models one of which scores more than twice what guessing does."""
    differences = [b - a for a, b in zip(before, after, strict=True)]
    mean, deviation = fmean(differences), stdev(differences)
    if not any(differences):
        return "same model"
    agreed = all(d > 0 for d in differences) or all(d < 0 for d in differences)
    word = ("helped" if mean > 0 else "hurt") if agreed and abs(mean) > deviation else "nothing shown"
    if max(fmean(before), fmean(after)) <= 2 * guess:
        word = "both near guessing"
    return f"{word} ({100 * mean:+.1f}, sd {100 * deviation:.1f})"


def table(result: dict[str, Any]) -> str:
    """One table a start, percent, mean and sample standard deviation over the seeds; the verdicts below it are on AP@10."""
    seeds, queries = result["seeds"], ", ".join(f"{number} {kind}" for kind, number in result["queries"].items())
    parts = [f"Test queries: {queries}. Mean (sd) of {len(seeds)} seeds, percent. Checkpoints: {result['protocol']}.\n"]
    for start, rows in result["starts"].items():
        columns = [(group, score) for group, score in COLUMNS if group in next(iter(rows.values()))]
        head = ["row", *(f"{group} {TITLES[score]}" for group, score in columns)]
        lines = [_line(head), _line(["---"] * len(head))]
        for name, groups in rows.items():
            lines.append(_line([name, *(_cell(groups[group][score]) for group, score in columns)]))
        lines.append(_line(["guessing", *(f"{100 * result['guessing'][group][score]['mean']:.1f}" for group, score in columns)]))
        parts.append(f"### {start}\n\n" + "\n".join(lines) + "\n\n" + "\n".join(_verdicts(rows, result["guessing"])) + "\n")
    return "\n".join([*parts, *_between_starts(result["starts"], result["guessing"])]) + "\n"


def _verdicts(rows: dict[str, Any], guessing: dict[str, Any]) -> list[str]:
    """Each row against the one before it."""
    names, said = list(rows), []
    for before, after in pairwise(names):
        groups = [group for group in rows[after] if group != "all"]
        said.append(f"- {after}: " + "; ".join(f"{g} {_verdict(rows[before], rows[after], g, guessing)}" for g in groups))
    return said


def _between_starts(starts: dict[str, Any], guessing: dict[str, Any]) -> list[str]:
    """The last start against the first, row by row."""
    if len(starts) < 2:
        return []
    first, *_, last = starts
    lines = [f"### {last} against {first}\n"]
    for name in starts[first]:
        groups = [group for group in starts[first][name] if group != "all"]
        lines.append(f"- {name}: " + "; ".join(f"{g} {_verdict(starts[first][name], starts[last][name], g, guessing)}" for g in groups))
    return lines


def _verdict(before: dict[str, Any], after: dict[str, Any], group: str, guessing: dict[str, Any]) -> str:
    return verdict(before[group][JUDGED]["values"], after[group][JUDGED]["values"], guessing[group][JUDGED]["mean"])


def _cell(value: dict[str, Any]) -> str:
    return f"{100 * value['mean']:.1f} ({100 * value['std']:.1f})"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
