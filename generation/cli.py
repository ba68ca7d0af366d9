"""`python -m generation`: the stages as commands (what a worker or a Slurm task runs), and tools for pictures, captions, runs and shards.

Reports go to stdout, everything else to stderr. Heavy packages load inside the commands that need them.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from generation.stages import STAGES, UNIT_STAGES
from pipeline.entry import FiniteRange, call, set_option

if TYPE_CHECKING:
    from generation.config import GenerationConfig
    from generation.work import Part
    from pipeline.contracts.manifest import DoneRecord

_CONFIG = click.option(
    "--config", "config_file", type=click.Path(path_type=Path), required=True, help="Recipe, or RUN/config.yaml, which means RUN."
)


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed, 2 refused, 75 stopped before the end, to be started again."""
    return call(cli, arguments, "python -m generation")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Prompts to shards, one stage at a time. `passerby run` calls these for you."""


def _part_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which units: all of the run by default."""
    for option in (
        click.option("--units", metavar="LIST", help="Only these units: 3,7,10-20,30-60:5."),
        click.option("--num-tasks", type=int, default=1, show_default=True, help="Into how many tasks the units are divided."),
        click.option("--task", type=int, default=0, show_default=True, help="Only the units with unit % num-tasks == task."),
    ):
        command = option(command)
    return command


def _part(task: int, num_tasks: int, units: str | None) -> "Part":
    from generation.work import Part
    from pipeline.contracts.errors import ConfigError

    if units is not None and (task, num_tasks) != (0, 1):
        raise ConfigError(f"--units {units} and --task {task} of --num-tasks {num_tasks}; accepted: one or the other")
    return Part(task, num_tasks, units)


def _stage_command(name: str, text: str) -> Callable[..., None]:
    @cli.command(name, help=text)
    @_CONFIG
    @set_option
    @_part_options
    def command(config_file: Path, overrides: tuple[str, ...], task: int, num_tasks: int, units: str | None) -> None:
        from generation.work import run_stage
        from pipeline.logs import TaskLog

        with TaskLog():
            records = run_stage(name, _load(config_file, overrides), _part(task, num_tasks, units))
        click.echo(json.dumps({"stage": name, "units": len(records), **_total(records)}))

    return command


def _total(records: "Sequence[DoneRecord]") -> dict[str, int]:
    return {field: sum(getattr(r.counts, field) for r in records) for field in ("seen", "kept", "dropped", "failed")}


for _name, _text in STAGES.items():
    _stage_command(_name, _text)


@cli.command()
@_CONFIG
@set_option
@_part_options
def fused(config_file: Path, overrides: tuple[str, ...], task: int, num_tasks: int, units: str | None) -> None:
    """All stages from generate to annotate at once: pictures stay in memory. Same files as one by one.

    Answers with counts by stage and where the time went, in seconds.
    """
    from dataclasses import asdict

    from generation.work import run_all_stages
    from pipeline.logs import TaskLog

    with TaskLog():
        report = run_all_stages(_load(config_file, overrides), _part(task, num_tasks, units))
    answer = {
        "stage": "fused",
        "units": sum(record.stage == UNIT_STAGES[-1] for record in report.records),
        "stages": {name: _total([r for r in report.records if r.stage == name]) for name in UNIT_STAGES},
        "setup_seconds": round(report.setup_seconds, 2),
        "seconds": round(report.seconds, 2),
        "times": [{k: round(v, 2) if isinstance(v, float) else v for k, v in asdict(times).items()} for times in report.times],
    }
    click.echo(json.dumps(answer))


@cli.command()
@_CONFIG
@set_option
def describe(config_file: Path, overrides: tuple[str, ...]) -> None:
    """Print the resolved config, sizes and stage digests as JSON; loads no model."""
    from generation.digests import describe as describe_config

    click.echo(json.dumps(describe_config(_load(config_file, overrides))))


@cli.command("check-images")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture: file, verdict, reason, measures.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Recipe whose `filter` section is used.")
@set_option
def check_images(folder: Path, as_json: bool, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """Verdict, reason and measures of the filter for the pictures in FOLDER, not below it."""
    from generation.check_images import check_folder, to_json, to_line

    for row in check_folder(folder, _load(config_file, overrides).filter):
        click.echo(to_json(row) if as_json else to_line(row))


@cli.command("annotate-text")
@click.argument("file", type=click.File("rb"))
@click.option("--coverage", is_flag=True, help="Also print how often each attribute is stated, on stderr.")
@click.option("--coverage-json", type=click.Path(path_type=Path), metavar="FILE", help="Write the same as JSON.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes; the order of the answers stays.")
def annotate_text(file: IO[bytes], coverage: bool, coverage_json: Path | None, jobs: int) -> None:
    """Captions in FILE (one a line, or JSONL with `id` and `caption`; - for stdin) to JSONL {id, labels}."""
    from generation.annotate_text import Coverage, annotate_lines
    from pipeline.fileio import check_writable, write_json

    if coverage_json:
        check_writable(coverage_json)
    counted = Coverage()
    for chunk in annotate_lines(file, getattr(file, "name", "<stdin>"), jobs, with_labels=coverage or coverage_json is not None):
        sys.stdout.write(chunk.text)
        counted.add(chunk.labels)
    if coverage:
        click.echo("\n".join(counted.to_lines()), err=True)
    if coverage_json:
        write_json(coverage_json, counted.to_json())


@cli.command("check-leak")
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|RUN|FILE")
@click.option(
    "--against", multiple=True, metavar="FILE", help="Test captions (.json, .jsonl, .parquet, .txt); default: prompts.check_against."
)
@click.option("--min-similarity", type=FiniteRange(0, 1, min_open=True), help="Near from here on; default: prompts.max_similarity.")
@click.option("--clean", type=click.Path(path_type=Path), metavar="FILE.jsonl", help="Write the prompts without a leak to this file.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
@set_option
def check_leak(
    source: Path, against: tuple[str, ...], min_similarity: float | None, clean: Path | None, as_json: bool, overrides: tuple[str, ...]
) -> int:
    """Compare prompts with test captions: exact, normalised, contained, near. Exit code 1 if one leaks."""
    from generation.check_leak import check, load_prompts, refuse_overwriting, to_lines, write_clean

    config, prompts = load_prompts(source, overrides)
    refuse_overwriting(clean, [source, *map(Path, (*config.files, *(against or config.check_against)))])
    answer = check(prompts, against or config.check_against, min_similarity or config.max_similarity)
    for line in [json.dumps(answer, ensure_ascii=False)] if as_json else to_lines(answer):
        click.echo(line)
    if clean is not None:
        count = write_clean(clean, prompts, answer)
        click.echo(f"{count} prompts without a leak: {clean}; prompts.kind=table with prompts.file={clean} reads them", err=True)
    return 1 if answer["leaks"] else 0


@cli.command()
@click.argument("source", type=click.Path(path_type=Path), metavar="CONFIG|RUN")
@click.option("--yes", is_flag=True, help="Do it; without this flag the command only shows what would change.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
@set_option
def redecide(source: Path, yes: bool, as_json: bool, overrides: tuple[str, ...]) -> None:
    """Other filter.thresholds on a filtered run, from stored measures; later stages are removed, to be made again."""
    from generation.recipes import load_recipe
    from generation.redecide import redecide as decide_again
    from generation.redecide import to_lines

    answer = decide_again(load_recipe(source, overrides), yes)
    for line in [json.dumps(answer)] if as_json else to_lines(answer):
        click.echo(line)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("key")
@click.option("--out", type=click.Path(path_type=Path), help="PNG file to write; default: KEY.png here.")
@click.option("--alone", is_flag=True, help="Make this picture only, not the batch it was made in: faster, may differ by rounding.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def regenerate(run: Path, key: str, out: Path | None, alone: bool, as_json: bool) -> None:
    """Make the picture KEY (as in ledgers and shards: 000000012_00) of a run again, and compare it with the stored one."""
    from generation.recipes import load_started
    from generation.regenerate import regenerate as make_again
    from generation.regenerate import to_lines
    from pipeline.contracts.errors import ConfigError
    from pipeline.fileio import write_bytes
    from pipeline.machine import WORKER_THREADS

    os.environ.setdefault("OMP_NUM_THREADS", WORKER_THREADS)  # before torch loads: the rounding of a small batch depends on it
    file = out or Path(f"{key}.png")
    if file.is_dir():
        raise ConfigError(f"--out {file} is a folder; accepted: the name of a PNG file")
    image, report = make_again(load_started(run), key, alone)
    write_bytes(file, image)
    for line in [json.dumps({**report, "file": str(file)}, ensure_ascii=False)] if as_json else to_lines(report, str(file)):
        click.echo(line)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.argument("key")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def why(run: Path, key: str, as_json: bool) -> None:
    """What became of the picture KEY (as in ledgers and shards: 000000012_00), stage by stage, and which measure decided."""
    from generation.recipes import load_started
    from generation.why import to_lines
    from generation.why import why as trace

    answer = trace(load_started(run), key)
    for line in [json.dumps(answer, ensure_ascii=False)] if as_json else to_lines(answer):
        click.echo(line)


@cli.command("export-mals")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN|SHARDS")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--split", "splits", multiple=True, default=("train",), show_default=True, help="train or val; may be repeated.")
def export_mals(source: Path, out: Path, splits: tuple[str, ...]) -> None:
    """Write samples to the new folder OUT in the published layout of MALS: gene_attrs/g_*_attrs.json (91 lists) and gene_crop."""
    from generation.exchange import mals, shards

    folder = shards.shards_folder(source)
    answer = mals.export_mals(folder, out, splits, recipe=_recipe(source, folder))
    for split, count in answer["left_out"].items():
        also = "".join(f" --split {name}" for name in (*splits, split))
        click.echo(f"{count} samples of split {split} are left out; export to a new folder with{also} to take them along", err=True)
    click.echo(json.dumps(answer))


@cli.command("import-mals")
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--samples-per-shard", type=click.IntRange(min=1), default=1000, show_default=True, help="At most.")
@click.option("--val-fraction", type=FiniteRange(0, 1, max_open=True), default=0.01, show_default=True, help="Of prompts, or captions.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the split.")
def import_mals(folder: Path, out: Path, samples_per_shard: int, val_fraction: float, seed: int) -> None:
    """Make shards, index, ledger and manifest in the new folder OUT from a MALS download (FOLDER with gene_attrs and gene_crop)."""
    from dataclasses import asdict

    from generation.exchange import mals, origins

    imported = mals.import_mals(folder, out, samples_per_shard=samples_per_shard, val_fraction=val_fraction, seed=seed)
    manifest, new_keys = imported.manifest, imported.new_keys
    counts, ledger = manifest.counts, str(out / mals.LEDGER)
    if new_keys:
        click.echo(f"keys and pid are new, not those of the exported runs: {new_keys}", err=True)
    if counts.reasons:
        why = ", ".join(f"{reason} {number}" for reason, number in counts.reasons.items())
        click.echo(f"{counts.dropped + counts.failed} of {counts.seen} records became no sample ({why}); {ledger} says which", err=True)
    if origins.NO_ORIGIN in counts.reasons:
        click.echo(origins.NO_ORIGIN_MEANS, err=True)
    if val_fraction and len(manifest.split_counts) < 2:
        click.echo(
            f"all samples are in split {', '.join(manifest.split_counts)}: the other one has no text (prompt, else caption) or its records "
            "became no samples; with --val-fraction 0 no validation split is asked for",
            err=True,
        )
    answer = {"folder": str(out), "splits": manifest.split_counts, "shards": len(manifest.shards), **asdict(counts), "ledger": ledger}
    click.echo(json.dumps({**answer, "new_keys": new_keys}))


@cli.command("export-hf")
@click.argument("source", type=click.Path(path_type=Path), metavar="RUN|SHARDS")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--name", help="Title of the data card; default: the name of SOURCE.")
def export_hf(source: Path, out: Path, name: str | None) -> None:
    """Write the new folder OUT for Hugging Face `datasets`, with a data card filled in from the run."""
    from generation.exchange import hf, shards
    from pipeline.paths import RunPaths
    from pipeline.stats import stage_counts

    folder = shards.shards_folder(source)
    stages = stage_counts(RunPaths(source)) if folder != source else None
    answer = hf.export_hf(folder, out, name or source.resolve().name, stages, _recipe(source, folder))
    if unknown := answer["unknown_licence"]:
        click.echo(
            f"the licence of the prompts of {unknown} of {answer['samples']} samples is unknown, which the card says too; state it in "
            f"{out / 'README.md'}, and for new runs in prompts.licence",
            err=True,
        )
    click.echo(json.dumps(answer))


def _recipe(source: Path, folder: Path) -> str | None:
    """The recipe of an export of `source`, whose shards lie in `folder`; None, and why on stderr, where they were made otherwise."""
    from generation.exchange.published import recipe_of
    from pipeline.contracts.errors import ConfigError, ContractError
    from pipeline.manifests import read_manifest

    if folder == source:
        return None
    manifest = read_manifest(folder)
    try:
        return recipe_of(source, manifest)
    except (ConfigError, ContractError) as err:
        click.echo(f"the export has no recipe.yaml: {err}", err=True)
        return None


def _load(config_file: Path | None, overrides: tuple[str, ...]) -> "GenerationConfig":
    from generation.config import GenerationConfig
    from generation.recipes import load_recipe
    from pipeline.config import apply_overrides, build

    if config_file is None:
        return build(GenerationConfig, apply_overrides({}, overrides), "--set")
    return load_recipe(config_file, overrides)
