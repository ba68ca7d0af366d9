"""`python -m generation`: the stages as commands (what a worker or a Slurm task runs), and two tools that need no run.

Reports go to stdout, everything else to stderr. Heavy packages load inside the commands that need them.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from pipeline.entry import call

if TYPE_CHECKING:
    from generation.config import GenerationConfig

_STAGES = {
    "prompts": "Write the prompt table.",
    "generate": "Make pictures from prompts.",
    "filter": "Measure pictures and keep or drop them.",
    "recrop": "Cut kept pictures to the person.",
    "caption": "Write captions, drop unusable ones.",
    "annotate": "Read 27 attributes from captions.",
    "shard": "Write shards, index and manifest.",
}
_CONFIG = click.option("--config", "config_file", type=click.Path(path_type=Path), required=True, help="Recipe, or RUN/config.yaml.")
_SET = click.option("--set", "overrides", multiple=True, metavar="A.B=C", help="Override one field; may be repeated.")


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 done, 1 failed, 2 refused."""
    return call(cli, arguments, "python -m generation")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Prompts to shards, one stage at a time. `passerby run` calls these for you."""


def _stage_command(name: str, text: str) -> Callable[..., None]:
    @cli.command(name, help=text)
    @_CONFIG
    @_SET
    @click.option("--task", type=int, default=0, show_default=True, help="Which part of the units: those with unit % num-tasks == task.")
    @click.option("--num-tasks", type=int, default=1, show_default=True)
    def command(config_file: Path, overrides: tuple[str, ...], task: int, num_tasks: int) -> None:
        from generation.work import run_stage
        from pipeline.logs import TaskLog

        with TaskLog():
            records = run_stage(name, _load(config_file, overrides), task, num_tasks)
        total = {field: sum(getattr(r.counts, field) for r in records) for field in ("seen", "kept", "dropped", "failed")}
        click.echo(json.dumps({"stage": name, "units": len(records), **total}))

    return command


for _name, _text in _STAGES.items():
    _stage_command(_name, _text)


@cli.command()
@_CONFIG
@_SET
def describe(config_file: Path, overrides: tuple[str, ...]) -> None:
    """Print the resolved config, sizes and stage digests as JSON; loads no model."""
    from generation.digests import describe as describe_config

    click.echo(json.dumps(describe_config(_load(config_file, overrides))))


@cli.command("check-images")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture: file, verdict, reason, measures.")
@click.option("--config", "config_file", type=click.Path(path_type=Path), help="Recipe whose `filter` section is used.")
@_SET
def check_images(folder: Path, as_json: bool, config_file: Path | None, overrides: tuple[str, ...]) -> None:
    """Verdict, reason and measures of the filter for the pictures in FOLDER."""
    from generation.check_images import check_folder, to_json, to_line

    for row in check_folder(folder, _load(config_file, overrides).filter):
        click.echo(to_json(row) if as_json else to_line(row))


@cli.command("annotate-text")
@click.argument("file", type=click.File("rb"))
def annotate_text(file: IO[bytes]) -> None:
    """Captions in FILE (one a line, or JSONL with `id` and `caption`; - for stdin) to JSONL {id, labels}."""
    from generation.annotate_text import annotate_lines

    for record in annotate_lines(file, getattr(file, "name", "<stdin>")):
        sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")


def _load(config_file: Path | None, overrides: tuple[str, ...]) -> "GenerationConfig":
    from generation.config import GenerationConfig
    from pipeline.config import apply_overrides, build, load

    if config_file is None:
        return build(GenerationConfig, apply_overrides({}, overrides), "--set")
    return load(GenerationConfig, config_file, overrides)
