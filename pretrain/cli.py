"""`python -m pretrain VERB`. Only what a verb needs is imported, when it runs. The last line on stdout is the answer; logs go to stderr."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.entry import call, config_argument, end_with_config, log_to_stderr, print_option, rank_option, set_option

if TYPE_CHECKING:
    from pretrain.config import PretrainConfig


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@rank_option
def pretrain() -> None:
    """Pre-training of APTM from shards, its evaluation, and proof against golden numbers."""


@pretrain.command()
@config_argument
@set_option
@print_option
def train(path: Path, overrides: tuple[str, ...], print_config: bool) -> None:
    """Train, or continue. Also under torchrun, deepspeed and srun."""
    config = _config(path, overrides, print_config)
    log_to_stderr()
    from pipeline.signals import stop_requests

    with stop_requests(interrupts=True) as stop:  # before torch loads: a warning that comes meanwhile is kept
        from pretrain.rendezvous import lost_ranks_named
        from pretrain.train import train

        with lost_ranks_named():
            summary = train(config, stop)
    if summary:
        click.echo(json.dumps(summary))


@pretrain.command()
@config_argument
@set_option
@print_option
@click.option("--checkpoint", "folder", type=click.Path(path_type=Path), help="Checkpoint folder; default: the newest of `out`.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of a table.")
def evaluate(path: Path, overrides: tuple[str, ...], print_config: bool, folder: Path | None, as_json: bool) -> None:
    """Score a checkpoint on the held-out split of its shards: text-to-image retrieval and attributes.

    A fine-tuning recipe is scored on its benchmark, with --split and --cost: passerby evaluate RECIPE --help.
    """
    config = _config(path, overrides, print_config)
    from pretrain.evaluate import evaluate

    scores = evaluate(config, folder or Path(config.out) / "checkpoint")
    if as_json:
        click.echo(json.dumps(scores, allow_nan=False))
        return
    for group, values in scores.items():
        for name, value in values.items():
            shown = f"{100 * value:6.2f} %" if isinstance(value, float) else f"{'-' if value is None else value:>6}"
            click.echo(f"{group:12} {name:32} {shown}")


@pretrain.command("import-checkpoint")
@click.option(
    "--aptm", type=click.Path(path_type=Path), help="A whole APTM: .pth or .safetensors in the published layout, or a checkpoint."
)
@click.option("--swin", type=click.Path(path_type=Path), help="Swin weights: .pth, .safetensors, or a transformers folder.")
@click.option("--bert", type=click.Path(path_type=Path), help="BERT weights: .bin, .safetensors, or a transformers folder.")
@config_argument
@set_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Checkpoint folder to write.")
@click.option("--json", "as_json", is_flag=True, help="The whole key report as JSON.")
def import_checkpoint(
    aptm: Path | None, swin: Path | None, bert: Path | None, path: Path, overrides: tuple[str, ...], out: Path, as_json: bool
) -> int:
    """Weights of others to a checkpoint folder of the model that --config describes; says what became of every key.

    Exit code 1 if the file of --aptm holds keys that the model has not; the folder is written all the same. Heads of --swin and --bert
    that APTM has no use for are normal.
    """
    from pretrain.exchange import import_weights

    reports = import_weights(_config(path, overrides, False), aptm, swin, bert, out)
    unexpected = bool(aptm and reports["checkpoint"].unexpected)
    if as_json:
        from dataclasses import asdict

        click.echo(json.dumps({"out": str(out), "clean": not unexpected, **{name: asdict(report) for name, report in reports.items()}}))
        return int(unexpected)
    for name, report in reports.items():
        click.echo(f"{name}: {report.summary()}")
    click.echo(f"{out}")
    return int(unexpected)


@pretrain.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", "file", type=click.Path(path_type=Path), help="HTML file to write; default: RUN/report.html.")
@click.option(
    "--queries", type=click.IntRange(0, 50), default=6, show_default=True, help="Held-out captions shown with their answers; 0: none."
)
def report(run: Path, file: Path | None, queries: int) -> None:
    """Write one HTML page about the training in folder RUN, finished or not: curves, retrieval, sample queries, settings."""
    from pretrain.report.write import write_report

    file = file or run / "report.html"
    write_report(run, file, queries)
    click.echo(f"{file}")


@pretrain.command()
@click.argument("texts", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Vocabulary file to write.")
@click.option("--size", default=1500, show_default=True, help="Most pieces it may have.")
def build_vocab(texts: tuple[Path, ...], out: Path, size: int) -> None:
    """Learn a WordPiece vocabulary from TEXTS (one caption a line), attribute prompts and the challenge's sentences."""
    from pipeline.fileio import write_bytes
    from pretrain.vocabulary import build_vocabulary, read_captions

    pieces = build_vocabulary([caption for path in texts for caption in read_captions(path)], size)
    write_bytes(out, ("\n".join(pieces) + "\n").encode())
    click.echo(json.dumps({"pieces": len(pieces), "file": str(out)}))


def _config(path: Path, overrides: Sequence[str], print_only: bool) -> "PretrainConfig":
    from pipeline.config import load, of_training, to_dict
    from pretrain.config import PretrainConfig

    config = load(PretrainConfig, *of_training(path, overrides))
    if print_only:
        end_with_config(to_dict(config))
    return config


def main(arguments: Sequence[str] | None = None) -> None:
    sys.exit(call(pretrain, arguments, "python -m pretrain"))
