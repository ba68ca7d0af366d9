"""The answer of `passerby stats` for a terminal."""

from typing import Any

from pipeline.report import print_table, top_reasons


def print_stats(answer: dict[str, Any]) -> None:
    stages = [
        (name, s["units"], s["seen"], s["kept"], s["dropped"], s["failed"], _seconds(s), top_reasons(s["reasons"]))
        for name, s in answer["stages"].items()
    ]
    print_table(answer["run"], ("stage", "units", "seen", "kept", "dropped", "failed", "seconds", "top reasons"), stages)
    if "prompts_read" in answer:
        print(f"prompt files: {reading(answer['prompts_read'])}")
    if "attributes" in answer:
        rows = [_attribute_row(name, counts) for name, counts in answer["attributes"]["by_name"].items()]
        columns = ("attribute", "label 0", "label 1", "stated", "0 means", "1 means")
        print_table("attributes of kept samples", columns, rows)
    if "measures" in answer:
        _print_measures(answer["measures"])
    if "captions" in answer:
        _print_texts(answer)
    if "shards" in answer:
        s = answer["shards"]
        splits = ", ".join(f"{name} {count}" for name, count in s["splits"].items())
        print(f"{s['shards']} shards, {s['bytes'] / 1e6:.1f} MB: {splits} samples")


def reading(counts: dict[str, int]) -> str:
    """How the texts of prompt files became prompts."""
    left_out = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in counts.items() if reason not in ("texts", "prompts"))
    return f"{counts['texts']} texts; left out: {left_out}; {counts['prompts']} prompts"


def _print_measures(measures: dict[str, Any]) -> None:
    columns = ("p1", "p50", "p99")
    names = list({**measures["kept"], **measures["dropped"]})
    rows = [
        (name, *(f"{measures[side].get(name, {}).get(column, '')}" for side in ("kept", "dropped") for column in columns)) for name in names
    ]
    print_table("measures of kept and dropped images", ("measure", *(f"{side} {c}" for side in ("kept", "dropped") for c in columns)), rows)


def _print_texts(answer: dict[str, Any]) -> None:
    for name in ("captions", "prompts"):
        texts = answer[name]
        words = texts["words"].get("p50", 0)
        print(f"{name}: {texts['count']}, {texts['different']} different, median {words:g} words")
    for name in ("source", "licence", "generator", "captioner"):
        print(f"{name}: " + ", ".join(f"{value} {count}" for value, count in list(answer[name].items())[:5]))


def _attribute_row(name: str, counts: dict[str, Any]) -> tuple[Any, ...]:
    total = counts["0"] + counts["1"] + counts["not_stated"]
    stated = (counts["0"] + counts["1"]) / total if total else 0.0
    return name, counts["0"], counts["1"], f"{stated:.1%}", *counts["meanings"]


def _seconds(stage: dict[str, Any]) -> str:
    return "" if stage["seconds"] is None else f"{stage['seconds']:.0f}"
