"""The errors that a user can cause. Everything else that is raised is a bug.

A message names the file or field, the value found, what is accepted, and the way out. The command line prints the message without a
traceback and ends with `exit_code` (1 failed, 2 refused).
"""


class ProjectError(Exception):
    """Base of all errors that are printed to the user without a traceback."""

    exit_code = 1


def first_line(error: BaseException) -> str:
    """What a library says, without the advice that it puts on further lines; at most 300 characters. Else the error's kind."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


class ConfigError(ProjectError):
    """A config, an option or a combination of them is refused before any work starts."""

    exit_code = 2


class ContractError(ProjectError):
    """A file on disk is not what its reader was promised: wrong schema, digest, shape or content."""

    exit_code = 2


class StageError(ProjectError):
    """A task could not do its work: disk full, model does not load, worker died."""
