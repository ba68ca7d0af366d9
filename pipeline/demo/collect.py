"""metrics.json and the content of the report, from the files that the steps left. Opens no model and starts no program."""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.contracts.attributes import AttributeSpace
from pipeline.contracts.stage import Row
from pipeline.demo.flow import StageFlow, attribute_counts, kept_rows, read_flow
from pipeline.demo.layout import FINETUNE, GROUPS, DemoPaths
from pipeline.demo.pictures import dropped_cards, kept_cards
from pipeline.demo.queries import answered_queries
from pipeline.demo.report import DROPPED_PER_REASON, ReportData
from pipeline.demo.training import compare, read_history, read_losses
from pipeline.environment import describe_machine, library_versions
from pipeline.fileio import read_json
from pipeline.paths import MANIFEST_FILE, METRICS_FILE, RunPaths

KEPT_CARDS, STRIP_CARDS = 18, 16


def collect(paths: DemoPaths, steps: Sequence[str]) -> ReportData:
    """Everything about a finished demo; steps: names of those that ran, in order. Raises ContractError where a file is not as promised."""
    run = RunPaths(paths.generation)
    space = AttributeSpace.from_json(read_json(run.stage("shard") / MANIFEST_FILE)["attribute_space"])
    flow, rows = read_flow(run), kept_rows(run)
    records = {name: read_json(paths.record(name)) for name in steps}
    metrics = {
        "generation": generation_metrics(flow, rows, space),
        "seconds": _seconds(records, flow),
        "steps": {name: {"seconds": record["seconds"], "resumed": record["resumed"]} for name, record in records.items()},
        "losses": read_losses(paths.pretrain),
        "retrieval": compare(*(read_json(paths.finetune(group) / "seeds.json") for group in GROUPS)),
        "submission": _submission(paths),
        "machine": describe_machine(),
        "versions": library_versions(),
        "finished": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    test = paths.miniature / "test"
    return ReportData(
        metrics=metrics,
        flow=flow,
        space=space,
        strip=kept_cards(run, rows[1:], space, STRIP_CARDS),
        kept=kept_cards(run, rows, space, KEPT_CARDS),
        dropped=dropped_cards(run, DROPPED_PER_REASON),
        history=read_history(paths.pretrain / METRICS_FILE),
        queries=answered_queries(read_json(paths.submission), test / "test_gt.txt", test / "test_images"),
    )


def generation_metrics(flow: Sequence[StageFlow], rows: Sequence[Row], space: AttributeSpace) -> dict[str, Any]:
    """Counts from the first picture on: images == kept + sum(dropped) + sum(failed). kept: samples in the final shards."""
    seen = [stage for stage in flow if stage.name != "prompts"]
    return {
        "images": seen[0].seen - sum(seen[0].failed.values()),
        "kept": seen[-1].kept,
        "dropped": _summed([stage.dropped for stage in seen]),
        "failed": _summed([stage.failed for stage in seen[1:]]),
        "stages": {
            stage.name: {"seen": stage.seen, "kept": stage.kept, "dropped": stage.dropped, "failed": stage.failed} for stage in flow
        },
        "attributes": attribute_counts(rows, space),
    }


def _summed(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for reasons in counts:
        for reason, count in reasons.items():
            total[reason] = total.get(reason, 0) + count
    return total


def _seconds(records: Mapping[str, Mapping[str, Any]], flow: Sequence[StageFlow]) -> dict[str, float]:
    """Stages of the generation run (work, summed over workers), steps (wall clock), all fine-tunings together, and the total."""
    seconds = {stage.name: round(stage.seconds, 2) for stage in flow}
    seconds |= {name: record["seconds"] for name, record in records.items() if not name.startswith(FINETUNE)}
    seconds["finetune"] = round(sum(record["seconds"] for name, record in records.items() if name.startswith(FINETUNE)), 2)
    return {**seconds, "total": round(sum(record["seconds"] for record in records.values()), 2)}


def _submission(paths: DemoPaths) -> dict[str, Any]:
    scores = read_json(paths.submission_score)
    return {
        "queries": len(read_json(paths.submission)["results"]),
        "official_map_at_10": scores["official"],
        "map_at_10": scores["map@10"],
        "recall_at_1": scores["recall@1"],
    }
