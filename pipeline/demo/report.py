"""report.html: one file with everything inside it, from what `collect` gathered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.contracts.attributes import AttributeSpace
from pipeline.demo import wording
from pipeline.demo.console import duration
from pipeline.demo.flow import StageFlow
from pipeline.demo.pictures import Card
from pipeline.demo.queries import Query
from pipeline.demo.training import OBJECTIVES, History
from pipeline.figures import compare_seeds, loss_curve
from pipeline.fileio import write_bytes
from pipeline.pages import page_template

TEMPLATE = Path(__file__).with_name("report.html.j2")
MEASURES = {
    "recall_at_1": "Recall@1",
    "recall_at_5": "Recall@5",
    "recall_at_10": "Recall@10",
    "map": "mAP",
    "minp": "mINP",
    "map_at_10": "mAP@10",
    "official_map_at_10": "mAP@10, organisers' rule",
}
KINDS = {"all": "all", "pedestrian": "pedestrians", "vehicle": "vehicles"}
DROPPED_PER_REASON = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """All that the page shows. metrics: the content of metrics.json."""

    metrics: dict[str, Any]
    flow: Sequence[StageFlow]
    space: AttributeSpace
    strip: Sequence[Card]
    kept: Sequence[Card]
    dropped: Sequence[Card]
    history: History
    queries: Sequence[Query]


def write_report(path: Path, data: ReportData) -> None:
    """Whole or not at all. Raises StageError when the disk is full."""
    write_bytes(path, render(data).encode())


def render(data: ReportData) -> str:
    """The page. The template escapes every text; only our own SVG passes as it is."""
    return page_template(TEMPLATE).render(**_texts(data.metrics), **_shown(data))


def _texts(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": "passerby: from prompts to a pedestrian retriever",
        "summary": wording.summary(metrics),
        "machine": [*metrics["machine"].values(), *(f"{name} {found}" for name, found in metrics["versions"].items()), metrics["finished"]],
        "headline": _headline(metrics),
        "pretrain_text": wording.pretraining(metrics),
        "retrieval_text": wording.retrieval(metrics),
        "verdict": wording.verdict(metrics["retrieval"]["recall_at_1"]),
        "queries_text": wording.queries(metrics),
        "timings_text": wording.timings(metrics),
    }


def _shown(data: ReportData) -> dict[str, Any]:
    metrics, retrieval = data.metrics, data.metrics["retrieval"]
    recall = {
        told: retrieval["recall_at_1"][group]["values"] for group, told in (("pretrained", "pre-trained"), ("scratch", "from scratch"))
    }
    return {
        "generation": metrics["generation"],
        "per_reason": DROPPED_PER_REASON,
        "flow": data.flow,
        "strip": data.strip,
        "kept": data.kept,
        "dropped": data.dropped,
        "attributes": _attribute_rows(metrics["generation"]["attributes"], data.space),
        "plots": [{"name": n.upper(), **metrics["losses"][n], "svg": loss_curve(n, *data.history[n])} for n in OBJECTIVES],
        "retrieval": _retrieval_rows(retrieval),
        "seeds": retrieval["seeds"],
        "seeds_plot": compare_seeds(recall, "Recall@1"),
        "queries": data.queries,
        "timings": [{"name": name.replace("-", " "), **step} for name, step in metrics["steps"].items()],
        "total_s": metrics["seconds"]["total"],
    }


def _headline(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    generation, groups = metrics["generation"], metrics["retrieval"]["recall_at_1"]
    return [
        (str(generation["images"]), "pictures generated"),
        (wording.percent(generation["kept"] / max(generation["images"], 1)), "kept for training"),
        (wording.percent(groups["pretrained"]["mean"]), "Recall@1, pre-trained"),
        (f"{100 * groups['difference']:+.1f}", "points by pre-training"),
        (duration(metrics["seconds"]["total"]), "for everything"),
    ]


def _attribute_rows(counts: Mapping[str, Mapping[str, int]], space: AttributeSpace) -> list[dict[str, Any]]:
    return [
        {
            "name": a.name,
            "meanings": [p.removeprefix("the person ") for p in a.prompts],
            "zero": counts[a.name]["0"],
            "one": counts[a.name]["1"],
            "none": counts[a.name]["not_stated"],
        }
        for a in space.attributes
    ]


def _retrieval_rows(retrieval: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for kind, told in KINDS.items():
        if kind != "all" and kind not in retrieval:
            continue
        groups = retrieval if kind == "all" else retrieval[kind]
        measures = [{"measure": label, "kind": told, "rows": 0, **groups[name]} for name, label in MEASURES.items() if name in groups]
        measures[0]["rows"] = len(measures)  # the first row names the kind for all of them
        rows += measures
    return rows
