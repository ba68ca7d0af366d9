"""Sentences of the report and of the final table that depend on the numbers. They say what was measured, whichever way it went."""

from collections.abc import Mapping
from typing import Any

from pipeline.demo.console import duration
from pipeline.demo.training import OBJECTIVES

Metrics = Mapping[str, Any]


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def summary(metrics: Metrics) -> str:
    generation, groups = metrics["generation"], metrics["retrieval"]["recall_at_1"]
    return (
        f"{generation['images']} pictures were generated from text, {generation['kept']} passed every check and became the training set "
        f"of a small APTM. Fine-tuned from it, a retriever puts a right picture first for {percent(groups['pretrained']['mean'])} of the "
        f"queries, against {percent(groups['scratch']['mean'])} without pre-training. All of it took "
        f"{duration(metrics['seconds']['total'])} on this machine."
    )


def verdict(groups: Metrics) -> str:
    """What the comparison of recall@1 shows. The spread is the larger of the two standard deviations."""
    difference, spread = groups["difference"], max(groups["pretrained"]["std"], groups["scratch"]["std"])
    moved = "raises" if difference > 0 else "lowers" if difference < 0 else "does not move"
    means = f"from {percent(groups['scratch']['mean'])} to {percent(groups['pretrained']['mean'])}"
    shown = "larger than the spread." if abs(difference) > spread else "within the spread: with these seeds nothing is shown either way."
    return (
        f"Pre-training on the generated data {moved} mean Recall@1 {means} ({100 * difference:+.1f} points; larger standard deviation of "
        f"the two {100 * spread:.1f} points). The difference is {shown}"
    )


def pretraining(metrics: Metrics) -> str:
    losses = metrics["losses"]
    rest = [name.upper() for name in OBJECTIVES if losses[name]["last"] >= losses[name]["first"]]
    return (
        f"A small APTM learns from the {metrics['generation']['kept']} kept samples alone, with contrastive (ITC, IAC), matching "
        f"(ITM, IAM) and masked (MLM, MAM) objectives on sentences and on attributes. "
        f"{'All six objectives fall.' if not rest else ', '.join(rest) + ' did not fall.'} "
        "The two numbers are means over the first and over the last steps."
    )


def retrieval(metrics: Metrics) -> str:
    count = len(metrics["retrieval"]["seeds"])
    return (
        f"The same network is fine-tuned {2 * count} times on a small data set in the format of the CVPR 2023 retrieval challenge, whose "
        f"test identities appear in no other split: {count} seeds from the pre-trained weights, the same {count} from random weights, "
        "all with the same number of steps. The test split is scored once per run."
    )


def queries(metrics: Metrics) -> str:
    submission = metrics["submission"]
    return (
        f"Test queries, evenly spaced over the file, each with the first five of the ten pictures that the submission names (pre-trained, "
        f"seed {metrics['retrieval']['seeds'][0]}). A tick and a green border mark a right picture. The submission of "
        f"{submission['queries']} queries is valid; the organisers' score is {submission['official_map_at_10']:.3f}, the standard mAP@10 "
        f"{submission['map_at_10']:.3f}."
    )


def timings(metrics: Metrics) -> str:
    stages = ", ".join(f"{name} {metrics['seconds'][name]:.1f} s" for name in metrics["generation"]["stages"])
    resumed = [name for name, step in metrics["steps"].items() if step["resumed"]]
    note = f" Resumed after an interruption, so that only the last call is counted: {', '.join(resumed)}." if resumed else ""
    return f"Wall clock. Work inside the stages of the generation run, summed over its workers: {stages}.{note}"
