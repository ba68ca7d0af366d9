"""`passerby challenge parse | predict | validate | score`: label files to JSONL; submission files written, checked and scored."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from finetune.datasets.challenge import (
    Pedestrian,
    Record,
    gold_path,
    images_folder,
    jpeg_names,
    list_gallery,
    queries_path,
    read_gold,
    read_labels,
    read_queries,
)
from finetune.datasets.records import KINDS
from finetune.submission import find_problems, read_submission, score
from pipeline.contracts.challenge import BITS_21
from pipeline.contracts.errors import ConfigError, ContractError

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)


@click.group()
def challenge() -> None:
    """The retrieval challenge's files: labels, queries, submissions."""


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Machine-readable output on stdout.")(command)


def data_option(command: F) -> F:
    return click.option("--data", type=FILE, help="Data folder in the organisers' layout; fills in what is not given.")(command)


@challenge.command()
@click.argument("file", type=FILE)
@json_option
def parse(file: Path, as_json: bool) -> None:
    """Label lines to JSONL on stdout. A summary goes to stderr, unless --json. A bad line is named and the file refused."""
    records = read_labels(file)
    for record in records:
        click.echo(json.dumps(to_row(record), ensure_ascii=False))
    if not as_json:
        counts = ", ".join(f"{sum(r.kind == kind for r in records)} {kind}s" for kind in KINDS)
        click.echo(f"{file}: {len(records)} lines, {counts}, {len({r.identity for r in records})} classes", err=True)


def to_row(record: Record) -> dict[str, Any]:
    """One JSONL row. `mentioned` holds the names of the bits that the text itself says are set; a vehicle has none."""
    row: dict[str, Any] = {"image": record.image, "kind": record.kind}
    if isinstance(record, Pedestrian):
        said = [name for name, value in zip(BITS_21.names, record.mentioned, strict=True) if value == 1]
        return row | {"bits": list(record.bits), "text": record.text, "mentioned": said}
    tag = {"colour": record.tag.colour, "brand": record.tag.brand, "type": record.tag.type}
    return row | {"tag": tag, "text": record.text, "mentioned": []}


@challenge.command()
@click.argument("submission", type=FILE)
@data_option
@click.option("--queries", type=FILE, help="test_text.txt")
@click.option("--images", type=FILE, help="Folder of test pictures, or a text file with one name per line.")
@json_option
def validate(submission: Path, data: Path | None, queries: Path | None, images: Path | None, as_json: bool) -> int:
    """Check a submission: count, order, wording, ten different known names per query. Exit code 2 if anything is wrong."""
    texts = read_queries(_given(queries, data, queries_path, "--queries"))
    gallery = _gallery(images, data)
    problems = find_problems(read_submission(submission), texts, gallery)
    if as_json:
        report = {"valid": not problems, "queries": len(texts), "images": None if gallery is None else len(gallery), "problems": problems}
        click.echo(json.dumps(report, ensure_ascii=False))
    else:
        checked = "names not checked (no --images)" if gallery is None else f"{len(gallery)} pictures"
        click.echo("\n".join(problems) or f"{submission}: valid, {len(texts)} queries, {checked}")
    return ContractError.exit_code if problems else 0


@challenge.command("score")
@click.argument("submission", type=FILE)
@data_option
@click.option("--gold", type=FILE, help="test_gt.txt: text$image$image... per query")
@json_option
def score_command(submission: Path, data: Path | None, gold: Path | None, as_json: bool) -> None:
    """The organisers' mAP (denominator: hits in the list) beside the standard mAP@10 (denominator: min(positives, 10)) and recall@k."""
    scores = score(read_gold(_given(gold, data, gold_path, "--gold")), read_submission(submission))
    click.echo(json.dumps(scores) if as_json else "\n".join(f"{name:10} {value:.4f}" for name, value in scores.items()))


@challenge.command()
@click.argument("checkpoints", type=FILE, nargs=-1)
@click.option("--data", type=FILE, required=True, help="Data folder in the organisers' layout.")
@click.option("--out", type=FILE, required=True, help="Submission file to write.")
@click.option("--device", default="auto", show_default=True)
@json_option
@click.option("--pedestrians", type=FILE, multiple=True, help="Checkpoint that ranks pedestrian queries only; may be repeated.")
@click.option("--vehicles", type=FILE, multiple=True, help="Checkpoint that ranks vehicle queries only; may be repeated.")
def predict(
    checkpoints: tuple[Path, ...],
    pedestrians: tuple[Path, ...],
    vehicles: tuple[Path, ...],
    data: Path,
    out: Path,
    device: str,
    as_json: bool,
) -> None:
    """Rank the test pictures for every test query and write a submission. Several checkpoints of a kind are fused."""
    from finetune.evaluate import predict_submission

    report = predict_submission(list(checkpoints), data, out, device, {"pedestrian": list(pedestrians), "vehicle": list(vehicles)})
    if as_json:
        click.echo(json.dumps(report))
        return
    for kind, found in report["kinds"].items():
        click.echo(f"{kind}: {found['queries']} queries, ranked by {', '.join(found['checkpoints'])}")
    click.echo(f"{out}: {report['queries']} queries, {report['images']} pictures")


@challenge.command("route")
@click.argument("folder", type=FILE)
@click.option("--data", type=FILE, required=True, help="Data folder whose train split teaches the router.")
@json_option
def route_command(folder: Path, data: Path, as_json: bool) -> None:
    """Pedestrian or vehicle for every picture of FOLDER, from its pixels, with confidence; one row each."""
    from finetune.gallery_kinds import router_of, routes_of

    names = jpeg_names(folder)
    if not names:
        raise ContractError(f"{folder} holds no .jpg")
    for name, found in zip(names, routes_of(router_of(data), folder, names), strict=True):
        row = {"image": name, "kind": found.kind, "confidence": round(found.confidence, 4)}
        click.echo(json.dumps(row) if as_json else f"{row['kind']:10} {row['confidence']:.3f}  {name}")


@challenge.command()
@click.argument("weights", type=FILE)
@click.option("--data", type=FILE, required=True, help="Data folder in the organisers' layout.")
@click.option("--split", type=click.Choice(("train", "val")), default="train", show_default=True)
@click.option("--out", type=FILE, required=True, help="File to write: image$tag$text$completed.")
@click.option("--device", default="auto", show_default=True)
@json_option
def complete(weights: Path, data: Path, split: str, out: Path, device: str, as_json: bool) -> None:
    """Fill in the colour and type that vehicle tags leave open, zero-shot with the CLIP of WEIGHTS (a file or folder)."""
    from finetune.completion import complete as complete_tags
    from finetune.completion import untuned_clip
    from pretrain.engine import pick_device

    report = complete_tags(untuned_clip(weights, pick_device(device)), data, out, split)
    click.echo(json.dumps(report) if as_json else f"{out}: {report['vehicles']} vehicles, {report['completed']} tags completed")


def _given(path: Path | None, data: Path | None, default: Callable[[Path], Path], option: str) -> Path:
    return path if path is not None else default(_required(data, option))


def _required(data: Path | None, option: str) -> Path:
    if data is None:
        raise ConfigError(f"{option} is missing; give it, or the whole data folder with --data")
    return data


def _gallery(images: Path | None, data: Path | None) -> list[str] | None:
    if images is None:
        return list_gallery(data) if data is not None and images_folder(data, "test").is_dir() else None
    return sorted(path.name for path in images.iterdir() if path.is_file()) if images.is_dir() else read_queries(images)
