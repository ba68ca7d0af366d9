"""report.html of a training: one file with everything inside it, that loads nothing."""

import statistics
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pipeline.config import to_dict
from pipeline.contracts.errors import ConfigError
from pipeline.fileio import write_bytes
from pipeline.pages import page_template
from pipeline.pictures import jpeg_url, thumbnail
from pretrain.report.collect import Training, collect, history

TEMPLATE = Path(__file__).with_name("page.html.j2")
OBJECTIVES = ("itc", "itm", "mlm", "iac", "iam", "mam", "total")
NAMES = {"recall@1": "Recall@1", "recall@5": "Recall@5", "recall@10": "Recall@10", "map": "mAP", "minp": "mINP"}
PICTURE_PX, JPEG_QUALITY = 300, 88  # height of the pictures of the queries
RECENT = 50  # logged steps whose median counts as the present speed


def write_report(folder: Path, file: Path, num_queries: int) -> None:
    """Raises ConfigError where jinja2 or matplotlib is missing, StageError when the disk is full; else as `collect`."""
    template = page_template(TEMPLATE)
    if find_spec("matplotlib") is None:
        raise ConfigError("matplotlib is not installed; install the extra `report`")
    write_bytes(file, template.render(**content(collect(folder, num_queries))).encode())


def content(training: Training) -> dict[str, Any]:
    """What the template names."""
    answers = training.answers
    return {
        "title": f"Pre-training {training.folder.resolve().name}",
        "lead": _lead(training),
        "machine": _machine(training.environment),
        "headline": _headline(training),
        "losses": _losses(training.lines),
        "health": _health(training.lines),
        "held_out": _held_out(training.lines),
        "answers": answers,
        "no_answers": training.no_answers,
        "retrieval": [] if answers is None else _retrieval(answers.scores),
        "attributes": [] if answers is None else _attributes(answers.scores["attributes"]),
        "queries": [] if answers is None else [_query(query) for query in answers.queries],
        "settings": _flat(to_dict(training.config)),
        "environment": _flat(training.environment),
    }


def _lead(training: Training) -> str:
    last, config = training.lines[-1], training.config
    state = "finished" if last["step"] == last["num_steps"] else f"stopped or running, {duration(last['eta_s'])} left at its pace"
    shards = config.data.shards if isinstance(config.data.shards, str) else ", ".join(p.shards for p in config.data.shards)
    size = f"; {training.summary['parameters'] / 1e6:.1f} M parameters" if training.summary else ""
    return (
        f"Step {last['step']:,} of {last['num_steps']:,} ({state}), {config.train.global_batch} pairs a step from {shards}, "
        f"seed {config.seed}{size}."
    )


def _machine(environment: Mapping[str, Any]) -> list[str]:
    if not environment:
        return []
    ranks = f"{environment['ranks']} rank{'s' if environment['ranks'] != 1 else ''} on {environment['device']}"
    return [ranks, *environment["machine"].values(), *(f"{name} {found}" for name, found in environment["versions"].items())]


def _headline(training: Training) -> list[tuple[str, str]]:
    lines = training.lines
    last, recent = lines[-1], lines[-RECENT:]
    found = [
        (f"{last['step']:,}", f"of {last['num_steps']:,} steps"),
        (f"{last['train/total']:.3g}", "total loss"),
        (f"{statistics.median(line['images_per_s'] for line in recent):,.0f}", "images/s"),
        (duration(last["seconds"]), "so far"),
    ]
    if training.answers:
        how = "re-ranked" if training.answers.reranked else "by similarity"
        scores = training.answers.scores["retrieval" if training.answers.reranked else "similarity"]
        return [*found, (percent(scores["recall@1"]), f"Recall@1, {how}"), (percent(scores["map"]), f"mAP, {how}")]
    logged = history(lines, "val/recall@1")[1]
    return [*found, (percent(logged[-1]), "Recall@1, re-ranked")] if logged else found


def _losses(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    from pipeline.figures import loss_curve

    plots = []
    for name in OBJECTIVES:
        steps, values = history(lines, f"train/{name}")
        if values:
            plots.append({"name": name if name == "total" else name.upper(), "note": _ends(values), "svg": loss_curve(name, steps, values)})
    return plots


def _health(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Curves of what is not a loss; a quantity that was not logged has none."""
    mfu = next((name for name in lines[-1] if "mfu" in name), "mfu")
    return _plots(
        lines,
        [
            ("Accuracy of ITM and IAM", {"train/itm_accuracy": "ITM", "train/iam_accuracy": "IAM"}, "%", {}),
            ("Gradient norm", {"train/gradient_norm": "gradient norm"}, "", {"log": True}),
            ("Learning rate", {"lr_boosted": "cross-attention", "lr": "others"}, "", {}),
            ("Temperature of ITC", {"train/temperature": "temperature"}, "", {"from_zero": False}),
            ("Images per second", {"images_per_s": "images/s"}, "", {}),
            ("Waiting for data", {"data_wait": "share of the step"}, "%", {}),
            ("Model FLOPs utilisation", {mfu: "MFU"}, "%", {}),
        ],
    )


def _held_out(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    recall = {f"val/recall@{k}": f"Recall@{k}" for k in (1, 5, 10)}
    plain = {"val/similarity_recall@1": "Recall@1", "val/similarity_map": "mAP"}
    return _plots(
        lines,
        [
            ("Recall, re-ranked", recall, "%", {}),
            ("mAP and mINP, re-ranked", {"val/map": "mAP", "val/minp": "mINP"}, "%", {}),
            ("By similarity alone", plain, "%", {}),
            ("Attributes", {"val/attributes": "mean"}, "%", {}),
        ],
    )


def _plots(lines: Sequence[Mapping[str, Any]], wanted: Sequence[tuple[str, dict[str, str], str, dict[str, bool]]]) -> list[dict[str, Any]]:
    from pipeline.figures import curves

    plots = []
    for title, names, unit, style in wanted:
        series = {told: history(lines, name) for name, told in names.items()}
        if unit == "%":
            series = {told: (steps, [100 * value for value in values]) for told, (steps, values) in series.items()}
        if series := {told: curve for told, curve in series.items() if curve[1]}:
            note = _ends(next(iter(series.values()))[1]) if len(series) == 1 else ""
            plots.append({"name": title, "note": f"{note} {unit}".strip() if note else "", "svg": curves(title, series, unit, **style)})
    return plots


def _retrieval(scores: Mapping[str, Mapping[str, float]]) -> list[dict[str, Any]]:
    return [{"name": told, "reranked": scores["retrieval"][name], "similarity": scores["similarity"][name]} for name, told in NAMES.items()]


def _attributes(accuracies: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(((name, value) for name, value in accuracies.items() if name != "mean"), key=lambda pair: -pair[1])


def _query(query: Any) -> dict[str, Any]:
    hits = [{"key": hit.key, "caption": hit.caption, "right": hit.right, "picture": data_uri(hit.picture)} for hit in query.hits]
    return {"text": query.text, "picture": data_uri(query.picture), "hits": hits}


def data_uri(picture: bytes) -> str:
    """As a small JPEG that stands in the page."""
    return jpeg_url(thumbnail(picture, PICTURE_PX, JPEG_QUALITY))


def _flat(tree: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    """(dotted name, value) of every leaf."""
    rows = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{above}{name}.")
        else:
            rows.append((f"{above}{name}", "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)))
    return rows


def _ends(values: Sequence[float]) -> str:
    return f"{values[0]:.3g} → {values[-1]:.3g}"


def percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def duration(seconds: float) -> str:
    """In the unit that fits."""
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size * (2 if name == "d" else 1):
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} s"
