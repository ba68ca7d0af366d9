"""How every command line of the project ends: messages without a traceback, exit codes 0 done, 1 failed, 2 refused."""

import errno
import functools
import math
import os
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from pipeline.contracts.errors import ConfigError, ProjectError

TYPED_AS = "PASSERBY_TYPED_AS"  # environment: the command that the user typed, for usage lines; nothing else depends on it

# what disks, quotas and permissions do to files that no stage has opened (those say more: pipeline/fileio.py)
_NOT_OUR_BUG = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.ESTALE,
    errno.ENAMETOOLONG,
    errno.EMFILE,
}


set_option = click.option("--set", "overrides", multiple=True, metavar="a.b=c", help="Change one field of the config; may be repeated.")
print_option = click.option("--print-config", is_flag=True, help="Print the resolved config and do nothing.")
# of a group: the deepspeed launcher adds it; LOCAL_RANK says the same
rank_option = click.option("--local_rank", hidden=True, expose_value=False)


def end_with_config(tree: Mapping[str, Any]) -> NoReturn:
    """What --print-config asks for: a resolved config on stdout, and nothing else."""
    from pipeline.config import dump_yaml

    click.echo(dump_yaml(tree), nl=False)
    raise click.exceptions.Exit(0)


def log_to_stderr(level: str = "INFO") -> None:
    """A line of time and text for what this process says of its work."""
    import logging

    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)


class FiniteRange(click.FloatRange):
    """click's own lets `nan` pass: no comparison with it is true, nor is one that it lies outside."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no finite number", param, ctx)
        return number


def config_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """A config as `CONFIG` anywhere among the options, or as `--config CONFIG`; the command gets it as `path`."""

    @click.argument("plain", required=False, type=click.Path(path_type=Path), metavar="CONFIG")
    @click.option("--config", "named", type=click.Path(path_type=Path), help="Recipe, or the folder of a training: CONFIG by name.")
    @functools.wraps(command)
    def with_path(plain: Path | None, named: Path | None, **options: Any) -> Any:
        if (plain is None) == (named is None):
            raise click.UsageError("give one CONFIG: a recipe, or the folder of a training")
        return command(path=named or plain, **options)

    return with_path


def call(command: click.Command, arguments: Sequence[str] | None, name: str) -> int:
    """Run a click command and return its exit code. Errors that a user can cause go to stderr as `ConfigError: …`, bugs are raised."""
    name = os.environ.pop(TYPED_AS, name)
    try:
        result = command.main(arguments, prog_name=name, standalone_mode=False)
    except click.ClickException as err:
        err.show()
        if settings := _bare_settings(err, sys.argv[1:] if arguments is None else arguments):
            print(f"Settings of the config follow --set: {shlex.join(settings)}", file=sys.stderr)
        return ConfigError.exit_code
    except click.Abort:
        print("stopped", file=sys.stderr)
        return ProjectError.exit_code
    except ProjectError as err:
        print(f"{type(err).__name__}: {err}", file=sys.stderr)
        return err.exit_code
    except OSError as err:
        if err.errno not in _NOT_OUR_BUG:
            raise
        print(f"{err.filename or 'standard output'}: {err.strerror}; mend that, then do it again", file=sys.stderr)
        return ProjectError.exit_code
    return result if isinstance(result, int) else 0


def _bare_settings(err: click.ClickException, arguments: Sequence[str]) -> list[str]:
    """`--set a.b=c` for each a.b=c among the arguments, where one was typed without --set, as Hydra has it."""
    if not isinstance(err, click.UsageError) or "unexpected extra argument" not in err.message:
        return []
    found = [word for word in arguments if re.match(r"\w+(\.\w+)+=", word)]
    return [part for word in found for part in ("--set", word)]
