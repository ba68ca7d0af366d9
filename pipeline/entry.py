"""How every command line of the project ends: messages without a traceback, exit codes 0 done, 1 failed, 2 refused."""

import functools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from pipeline.contracts.errors import ConfigError, ProjectError


def config_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """A config as `CONFIG` anywhere among the options, or as `--config CONFIG`; the command gets it as `path`."""

    @click.argument("plain", required=False, type=click.Path(path_type=Path), metavar="CONFIG")
    @click.option("--config", "named", type=click.Path(path_type=Path), help="Recipe, or config.yaml of a training: CONFIG by name.")
    @functools.wraps(command)
    def with_path(plain: Path | None, named: Path | None, **options: Any) -> Any:
        if (plain is None) == (named is None):
            raise click.UsageError("give one CONFIG: a recipe, or config.yaml of a training")
        return command(path=named or plain, **options)

    return with_path


def call(command: click.Command, arguments: Sequence[str] | None, name: str) -> int:
    """Run a click command and return its exit code. Errors that a user can cause go to stderr as `ConfigError: …`, bugs are raised."""
    try:
        result = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.ClickException as err:
        err.show()
        return ConfigError.exit_code
    except click.Abort:
        print("stopped", file=sys.stderr)
        return ProjectError.exit_code
    except ProjectError as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        return err.exit_code
    return result if isinstance(result, int) else 0
