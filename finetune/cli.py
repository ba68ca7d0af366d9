"""`python -m finetune VERB`. Only what a verb needs is imported, when it runs. The last line on stdout is the answer; logs go to stderr."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from finetune.challenge_cli import challenge
from finetune.search.cli import index, search
from pipeline.entry import call, config_argument, end_with_config, log_to_stderr, print_option, rank_option, set_option

if TYPE_CHECKING:
    from finetune.recipes import Recipe


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@rank_option
def finetune() -> None:
    """Fine-tune a pre-trained checkpoint, evaluate it, and handle the challenge's files."""


finetune.add_command(challenge)
finetune.add_command(index)
finetune.add_command(search)


@finetune.command()
@config_argument
@set_option
@print_option
@click.option("--paper-protocol", is_flag=True, help="Choose the checkpoint on the test split, as published codes do; tables say so.")
@click.option("--seeds", metavar="0,1,2", help="Train from each of these seeds and report mean and spread; instead of the config's seed.")
def train(path: Path, overrides: tuple[str, ...], print_config: bool, paper_protocol: bool, seeds: str | None) -> None:
    """Train, or continue. Also under torchrun, deepspeed and srun."""
    config = _config(path, (*overrides, *(("eval.paper_protocol=true",) if paper_protocol else ())), print_config)
    numbers = _numbers(seeds) if seeds is not None else []
    log_to_stderr()
    from pipeline.signals import stop_requests

    with stop_requests(interrupts=True) as stop:  # before torch loads: a warning that comes meanwhile is kept
        from finetune.seeds import train_seeds
        from finetune.train import train
        from pretrain.rendezvous import lost_ranks_named

        with lost_ranks_named():
            summary = train_seeds(config, numbers, stop) if seeds is not None else train(config, stop)
    if summary:
        click.echo(json.dumps(summary))


@finetune.command()
@config_argument
@set_option
@print_option
@click.option("--checkpoint", "folder", type=click.Path(path_type=Path), help="Checkpoint folder; default: the best of `out`.")
@click.option("--split", type=click.Choice(("val", "test")), default="val", show_default=True)
@click.option("--cost", is_flag=True, help="Also measure milliseconds per query with and without re-ranking.")
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of a table.")
def evaluate(
    path: Path, overrides: tuple[str, ...], print_config: bool, folder: Path | None, split: str, cost: bool, as_json: bool
) -> None:
    """Score a checkpoint, fine-tuned or only pre-trained, on a split: recall@k, mAP, mINP, mAP@10 and the official score.

    The first line names the data set, the split and the checkpoint; what is reported as a result is --split test.
    """
    config = _config(path, overrides, print_config)
    from finetune.best import find_checkpoint
    from finetune.config import PAPER
    from finetune.evaluate import cost_of, evaluation_of
    from finetune.protocol import MEASURED_ON
    from pretrain.checkpoint import resolve

    folder = resolve(find_checkpoint(folder or Path(config.out)))  # once: a training that still runs may choose another meanwhile
    costs = {"cost": cost_of(config, folder, split)} if cost else {}  # first: it is quicker, and may be refused
    found = evaluation_of(config, folder, split)
    scores = found.scores | costs
    if as_json:
        click.echo(json.dumps(scores | {MEASURED_ON: found.facts}))
        return
    click.echo(found.title())
    for kind, values in scores.items():
        for name, value in values.items():
            click.echo(f"{kind:10} {name:11} " + (f"{value:8.2f}" if kind == "cost" else f"{100 * value:6.2f} %"))
    if found.facts.get("protocol") == PAPER:
        click.echo(PAPER)


@finetune.command()
@click.argument("configs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--score", default="recall@1", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of a table.")
def matrix(configs: tuple[Path, ...], score: str, as_json: bool) -> None:
    """Train on A, test on B: the finished trainings of CONFIGS, each on the test split of every data set among them."""
    from finetune.matrix import cross_domain, table
    from finetune.recipes import load_recipe

    result = cross_domain([load_recipe(path) for path in configs], score)
    click.echo(json.dumps(result) if as_json else table(result))


@finetune.command()
@click.argument("path", type=click.Path(path_type=Path))
@set_option
@click.option("--json", "as_json", is_flag=True, help="One line of JSON instead of tables.")
def ablation(path: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Train every row of the ablation PATH from every start and seed; write and print the table. Run it again to go on."""
    log_to_stderr("WARNING")
    from finetune.ablation import run_ablation
    from finetune.ablation_config import AblationConfig
    from finetune.ablation_table import table
    from pipeline.config import load
    from pipeline.signals import stop_requests

    with stop_requests() as stop:
        result = run_ablation(load(AblationConfig, path, overrides), stop, lambda line: click.echo(line, err=True))
    click.echo(json.dumps(result) if as_json else table(result))


@finetune.command()
@click.argument("shards", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
def unpack(shards: Path, out: Path) -> None:
    """Generated SHARDS as a data set of one's own (data.name: own), with captions and attributes, for any recipe to train on."""
    from finetune.datasets.from_shards import unpack_shards

    click.echo(json.dumps(unpack_shards(shards, out)))


@finetune.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--encoders", is_flag=True, help="Also write both encoders as torch.export programs, checked against eager.")
def export(checkpoint: Path, out: Path, encoders: bool) -> None:
    """A checkpoint as a folder to give away: weights, config, tokenizer, model card; `finetune.export.from_pretrained` opens it."""
    from finetune.export import export_checkpoint

    click.echo(json.dumps(export_checkpoint(checkpoint, out, encoders)))


@finetune.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def parity(folder: Path, as_json: bool) -> int:
    """Compare this code with the golden numbers of FOLDER, APTM's or the challenge's; exit 1 if any comparison fails."""
    from finetune.parity.report import run
    from pretrain.parity.report import tell

    return tell(run(folder), as_json)


@finetune.command("verify-data")
@click.argument("name")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--skip-pictures", is_flag=True, help="Check annotations only; open no picture.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a list.")
def verify_data(name: str, folder: Path, skip_pictures: bool, as_json: bool) -> int:
    """What FOLDER lacks to be the data set NAME: cuhk-pedes, icfg-pedes, rstpreid, pa-100k, challenge or own. Exit code 1 if unsound."""
    from finetune.verify import verify

    verdict = verify(name, folder, pictures=not skip_pictures)
    if as_json:
        click.echo(json.dumps(verdict.to_json(), ensure_ascii=False))
    else:
        for split, counts in verdict.counts.items():
            click.echo(f"{split:6}" + "".join(f"{number:10} {what}" for what, number in counts.items()))
        for finding in verdict.findings:
            click.echo(f"{'' if finding.harm else 'note: '}{finding.kind}{f' ({finding.split})' if finding.split else ''}: {finding.text}")
        click.echo(f"{folder}: {'sound' if verdict.sound else 'not sound'} as {name}")
    return 0 if verdict.sound else 1


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as err:
        raise click.BadParameter(f"{text!r}; accepted: whole numbers with commas between them", param_hint="--seeds") from err


def _config(path: Path, overrides: Sequence[str], print_only: bool) -> "Recipe":
    from finetune.recipes import load_recipe
    from pipeline.config import to_dict

    config = load_recipe(path, overrides)
    if print_only:
        end_with_config(to_dict(config))
    return config


def main(arguments: Sequence[str] | None = None) -> None:
    sys.exit(call(finetune, arguments, "python -m finetune"))
