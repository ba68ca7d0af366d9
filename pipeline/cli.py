"""`passerby`: the one command that a user types. Verbs that need models hand over to `python -m generation|pretrain|finetune`.

Nothing heavy is imported above the commands, so that `passerby --help` answers at once.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline import hand_over
from pipeline.entry import FiniteRange, call, end_with_config, print_option, set_option
from pipeline.paths import CONFIG_FILE, METRICS_FILE

if TYPE_CHECKING:
    from pipeline.describe import RunPlan


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
def passerby() -> None:
    """Synthetic pedestrians at scale, and APTM pre-training and fine-tuning on them.

    Exit codes: 0 done, 1 failed or stopped, 2 refused (usage, config, contract), 75 a training was stopped, to be started again.
    """


def _config_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """CONFIG (a recipe) or RUN (a folder that `run` or `submit` has begun) with --set, --json and --print-config."""
    for option in (
        print_option,
        click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout."),
        set_option,
        click.argument("config", type=click.Path(path_type=Path), metavar="CONFIG|RUN"),
    ):
        command = option(command)
    return command


@passerby.command()
@_config_options
def plan(config: Path, overrides: tuple[str, ...], as_json: bool, print_config: bool) -> None:
    """Show stages, units, what is missing and how long it will take."""
    from pipeline import report
    from pipeline.survey import judge_all, look

    if print_config:
        _describe(config, overrides, print_config)
    run_plan, records = look(config, overrides)
    _answer(report.plan_json(run_plan, judge_all(run_plan, records)), as_json, report.print_plan)


@passerby.command()
@_config_options
@click.option(
    "--workers", type=click.IntRange(min=1), help="Processes a stage; default: one a GPU for stages that want one, else one a core."
)
@click.option(
    "--redo",
    metavar="STAGE",
    help="First remove the outputs of this stage (prompts, generate, filter, recrop, caption, annotate, shard) and of all later ones.",
)
@click.option("--fresh", is_flag=True, help="First remove the outputs of all stages.")
def run(
    config: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    print_config: bool,
    workers: int | None,
    redo: str | None,
    fresh: bool,
) -> None:
    """Make what is missing of a run on this machine. May be killed at any time and started again."""
    from pipeline import local, report
    from pipeline.slurm.guard import refuse_queued

    run_plan = _describe(config, overrides, print_config)
    refuse_queued(run_plan)
    stages = local.run(run_plan, workers=workers, redo=redo, fresh=fresh, say=lambda line: click.echo(line, err=as_json))
    _answer(report.status_json(run_plan, stages), as_json, report.print_status)


@passerby.command()
@_config_options
@click.option("--watch", type=FiniteRange(min=0.1), is_flag=False, flag_value=30.0, help="Again every so many seconds [30] while it runs.")
def status(config: Path, overrides: tuple[str, ...], as_json: bool, print_config: bool, watch: float | None) -> None:
    """Show what is done, kept, dropped and failed, stage by stage; of a submitted run also what waits, runs, and failed from what cause."""
    from pipeline.slurm.commands import run_status
    from pipeline.survey import look

    if print_config:
        _describe(config, overrides, print_config)
    run_status(*look(config, overrides), watch_s=watch, as_json=as_json)


def _site_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The cluster, and --dry-run."""
    for option in (
        click.option("--dry-run", is_flag=True, help="Print the command lines and scripts, send nothing."),
        click.option("--site-set", multiple=True, metavar="a.b=c", help="Change one field of the site config; may be repeated."),
        click.option("--site", type=click.Path(path_type=Path), help="The cluster's YAML file; default configs/site.yaml, if it is there."),
    ):
        command = option(command)
    return command


@passerby.command()
@_config_options
@_site_options
def submit(**options: Any) -> None:
    """Send what is missing of a run to Slurm, as one array a stage, chained task by task. Sends nothing that is done or in the queue."""
    _send(only_failed=False, **options)


@passerby.command()
@_config_options
@_site_options
def retry(**options: Any) -> None:
    """Send again only what was submitted before, is over and is not done, for instance with more memory: --site-set gpu.memory=64G."""
    _send(only_failed=True, **options)


def _send(
    *,
    only_failed: bool,
    config: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    print_config: bool,
    site: Path | None,
    site_set: tuple[str, ...],
    dry_run: bool,
) -> None:
    from pipeline.slurm.commands import run_submit

    run_plan = _describe(config, overrides, print_config)
    run_submit(run_plan, site, site_set, dry_run=dry_run, only_failed=only_failed, as_json=as_json)


@passerby.command()
@_config_options
def cancel(config: Path, overrides: tuple[str, ...], as_json: bool, print_config: bool) -> None:
    """Take everything of a run out of Slurm's queue. What is done stays done."""
    from pipeline.slurm.commands import run_cancel

    run_cancel(_describe(config, overrides, print_config), as_json=as_json)


@passerby.command()
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def doctor(as_json: bool) -> int:
    """Show what this machine can run, what is missing and how to get it. Exit code 1 if the embedded models cannot run."""
    from pipeline import doctor as examination

    checks = examination.examine(Path("runs"))
    _answer(examination.to_json(checks), as_json, lambda _: examination.print_report(checks))
    return 0 if examination.is_ready(checks) else 1


@passerby.command()
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN|SHARDS")
@click.option("--decode/--no-decode", default=True, show_default=True, help="Decode every picture of the shards.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that look at shards.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def lint(run_folder: Path, decode: bool, jobs: int, as_json: bool) -> int:
    """Check records, ledgers, shards, index and manifest of a run against each other.

    Exit code 1 if something is wrong, is not made yet, or was made with other settings: `passerby lint RUN && ...` goes on with a
    whole run only.
    """
    from dataclasses import asdict

    from pipeline.lint import Left, left, ways_out
    from pipeline.lint import lint as find
    from pipeline.paths import RunPaths
    from pipeline.pictures import require_pillow

    if decode:
        require_pillow()
    findings = find(RunPaths(run_folder), decode=decode, jobs=jobs)
    lacks = Left({}, {}) if findings else left(RunPaths(run_folder))
    is_whole = lacks == Left({}, {})
    answer = {
        "run": str(run_folder),
        "sound": not findings,
        "complete": None if findings else is_whole,
        **asdict(lacks),
        "findings": [asdict(finding) for finding in findings],
        "ways_out": ways_out(RunPaths(run_folder), findings),
    }

    def show(_: dict[str, Any]) -> None:
        for finding in findings:
            click.echo(f"{finding.file}: {finding.text}")
        if findings:
            click.echo("\n".join([f"{run_folder}: {len(findings)} findings", *answer["ways_out"]]))
        elif is_whole:
            click.echo(f"{run_folder}: sound")
        else:
            groups = (("not made yet", lacks.not_made), ("made with other settings", lacks.other_settings))
            named = {text: ", ".join(f"{stage} ({count} units)" for stage, count in units.items()) for text, units in groups}
            way_out = "says what to do" if lacks.other_settings else "makes them"
            units = "; ".join(f"{text}: {stages}" for text, stages in named.items() if stages)
            click.echo(f"{run_folder}: sound so far; {units}; `passerby run {RunPaths(run_folder).typed}` {way_out}")

    _answer(answer, as_json, show)
    return 0 if is_whole and not findings else 1


@passerby.command()
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON on stdout.")
def stats(run_folder: Path, as_json: bool) -> None:
    """Show what is in a run, or in a folder of shards: counts and drop reasons, measures, captions, attributes, shards."""
    from pipeline.paths import RunPaths
    from pipeline.stats import stats as collect
    from pipeline.stats_table import print_stats

    _answer(collect(RunPaths(run_folder)), as_json, print_stats)


@passerby.command()
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), help="HTML file to write; default: RUN/report.html.")
@click.option("--samples", type=click.IntRange(0, 500), default=48, show_default=True, help="Kept samples to show.")
def report(run_folder: Path, out: Path | None, samples: int) -> None:
    """Write one HTML page about a run: what `stats` says, kept samples, and pictures that were dropped, by reason.

    RUN may be the folder of a pre-training too: curves, retrieval on held-out shards, sample queries (python -m pretrain report).
    """
    if (run_folder / METRICS_FILE).is_file():
        from pipeline import children
        from pipeline.contracts.errors import ConfigError

        if hand_over.evaluation_module([str(run_folder / CONFIG_FILE)]) == "finetune":
            raise ConfigError(
                f"{run_folder} is the folder of a fine-tuning, which has no report: its curves are in metrics.jsonl, "
                "its scores in summary.json"
            )
        raise click.exceptions.Exit(children.hand_over(hand_over.training_report_command(run_folder, out)))
    from pipeline.paths import RunPaths
    from pipeline.pictures import require_pillow
    from pipeline.run_report import write_report

    require_pillow()
    file = out or run_folder / "report.html"
    write_report(RunPaths(run_folder), file, samples)
    click.echo(f"{file}")


@passerby.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/demo"), show_default=True, help="Folder for everything.")
@click.option("--fresh", is_flag=True, help="First remove what an earlier demo left in that folder.")
@click.option("--settings", type=click.Path(path_type=Path), help="YAML file with other recipes or seeds (pipeline/demo/settings.py).")
def demo(out: Path, fresh: bool, settings: Path | None) -> None:
    """From prompts to a fine-tuned retriever with the models that passerby carries; ends with a table and report.html."""
    from pipeline.demo.command import demo as run_demo

    run_demo(out, settings, fresh)


def _describe(config: Path, overrides: tuple[str, ...], print_config: bool) -> "RunPlan":
    from pipeline.describe import describe

    run_plan = describe(config, overrides)
    if print_config:
        end_with_config(run_plan.config)
    return run_plan


def _answer(answer: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    if not as_json:
        show(answer)
        return
    import json

    click.echo(json.dumps(answer, indent=1, ensure_ascii=False))


for _verb in hand_over.VERBS:
    passerby.add_command(hand_over.command(_verb))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the console command."""
    sys.exit(call(passerby, arguments, "passerby"))
