"""Batch scripts from the templates in slurm/*.sbatch. What is filled in is quoted; only the site's `setup` lines are shell."""

import shlex
import string
import sys
from pathlib import Path

from pipeline.contracts.errors import ConfigError
from pipeline.paths import RunPaths
from pipeline.slurm.packing import Window
from pipeline.slurm.site import Resources, SiteConfig
from pipeline.slurm.submission import FILE, Job, folder

TEMPLATES = Path(__file__).parents[2] / "slurm"


class Template(string.Template):
    """@{name} is filled in: $ belongs to the shell. @@ is one @."""

    delimiter = "@"


def render(site: SiteConfig, paths: RunPaths, number: int, job: Job, resources: Resources, window: Window) -> str:
    """The batch script of a job. Raises ConfigError if the template is absent or has a name that is not known here."""
    file = (site.templates or TEMPLATES) / ("single.sbatch" if job.group is None else "array.sbatch")
    python = site.python or sys.executable
    record = folder(paths, number).absolute() / FILE
    command = [python, "-m", "pipeline.slurm.task", "--submission", str(record), "--job", job.name]
    values = {
        "job_name": job.job_name,
        "array": f"0-{job.size - 1}" + (f"%{window.running}" if window.running else ""),
        "log": _directive(log_pattern(paths, number, job)),
        "warning_s": str(site.warning_s),
        "resources": "\n".join(f"#SBATCH {line}" for line in resource_options(resources)),
        "setup": "\n".join(site.setup),
        "command": shlex.join(command),
    }
    try:
        return Template(file.read_text(encoding="utf-8")).substitute(values)
    except OSError as err:
        raise ConfigError(f"template {file} cannot be read: {err.strerror}; the site config's `templates` names its folder") from err
    except (KeyError, ValueError) as err:
        raise ConfigError(f"template {file} asks for {err}; accepted: {', '.join(f'@{{{name}}}' for name in values)}, @@ for @") from err


def resource_options(resources: Resources) -> list[str]:
    """sbatch options for one task."""
    named = {
        "partition": resources.partition,
        "account": resources.account,
        "qos": resources.qos,
        "constraint": resources.constraint,
        "time": resources.time_limit,
        "nodes": 1,
        "ntasks": 1,
        "cpus-per-task": resources.cpus,
        "mem": resources.memory,
        "gres": resources.gres,
        "gpus-per-node": None if resources.gres else resources.gpus or None,
    }
    return [f"--{name}={value}" for name, value in named.items() if value is not None] + [_quoted(option) for option in resources.options]


def _quoted(option: str) -> str:
    """As a #SBATCH line takes it. No quotes, backslashes or line breaks are in it (site.py)."""
    name, is_given, value = option.partition("=")
    return f"{name}{is_given}{_directive(value)}"


def log_pattern(paths: RunPaths, number: int, job: Job) -> str:
    """Where Slurm writes a task's output: %a stands for the index of the task. A requeued task goes on in the same file."""
    name = f"{job.name}.log" if job.group is None else f"{job.name}-%6a.log"
    return f"{str(logs_folder(paths, number).absolute()).replace('%', '%%')}/{name}"


def logs_folder(paths: RunPaths, number: int) -> Path:
    return paths.logs / f"slurm-{number:04d}"


def log_file(paths: RunPaths, number: int, job: Job, element: int) -> Path:
    name = f"{job.name}.log" if job.group is None else f"{job.name}-{element:06d}.log"
    return logs_folder(paths, number) / name


def refuse_folder(path: Path) -> None:
    """Raises ConfigError if a #SBATCH line could not hold the name of this folder."""
    if any(c in str(path) for c in '\n\r"\\'):
        raise ConfigError(f"run folder {str(path)!r} holds a quote, backslash or line break, which sbatch cannot take; choose another")


def _directive(text: str) -> str:
    return f'"{text}"' if any(c.isspace() or c in "'#;$" for c in text) else text
