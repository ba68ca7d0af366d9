"""`passerby doctor`: what this machine can run, what is missing, and how to get it. Imports none of the packages that it looks for."""

import importlib.util
import platform
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from pipeline.machine import gpus, num_cpus

Verdict = Literal["ok", "missing", "absent"]  # missing: the embedded flow needs it; absent: only some uses want it

_PACKAGES = {
    "pipeline": ("click", "dacite", "numpy", "orjson", "pyarrow", "PyYAML", "rich"),
    "generation": ("torch", "diffusers", "transformers", "accelerate", "safetensors", "mediapipe", "opencv-contrib-python", "webdataset"),
    "pretrain": ("deepspeed", "tokenizers", "scipy"),
    "report": ("jinja2", "matplotlib"),
}
_OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
_SLURM = ("sbatch", "squeue", "scontrol", "srun", "scancel", "sinfo", "sacct")
_MODELS = {"diffusion": "model_index.json", "captioner": "config.json"}
_MIN_FREE_GB = 2.0


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report. way_out: what to do unless the verdict is ok."""

    group: str
    name: str
    verdict: Verdict
    found: str
    way_out: str = ""


def examine(folder: Path) -> list[Check]:
    """All checks; `folder` is where runs would be written."""
    return [*_machine(), *_packages(), *_models(), *_slurm(), _disk(folder)]


def to_json(checks: Sequence[Check]) -> dict[str, Any]:
    """ready: nothing that the embedded flow needs is missing."""
    return {"ready": is_ready(checks), "checks": [asdict(check) for check in checks]}


def is_ready(checks: Sequence[Check]) -> bool:
    return all(check.verdict != "missing" for check in checks)


def print_report(checks: Sequence[Check]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("", "", "found", "how to get it"):
        table.add_column(column)
    previous = ""
    for check in checks:
        colour = {"ok": "green", "missing": "red", "absent": "yellow"}[check.verdict]
        cells = ("" if check.group == previous else check.group, check.name, check.found, check.way_out)
        table.add_row(*(Text(cell, style=colour if column == 2 else "") for column, cell in enumerate(cells)))
        previous = check.group
    console = Console()
    console.print(table)
    console.print("ready for the embedded models" if is_ready(checks) else "not ready: what is red is missing")


def _machine() -> list[Check]:
    python = platform.python_version()
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    devices = gpus()
    checks = [
        Check(
            "machine", "python", "ok" if fits else "missing", python, "" if fits else "Python 3.11 or 3.12 (mediapipe has no newer build)"
        ),
        Check("machine", "cpu cores", "ok", str(num_cpus())),
    ]
    torch = _version("torch")
    for gpu in devices:
        usable = torch is None or "+cpu" not in torch
        way_out = "" if usable else "the installed torch is a CPU build; install a CUDA build (README, GPU machines)"
        checks.append(Check("machine", f"gpu {gpu.index}", "ok" if usable else "absent", f"{gpu.name}, {gpu.memory_mib} MiB", way_out))
    if not devices:
        checks.append(
            Check("machine", "gpu", "absent", "none", "not needed for the embedded models; big models want an NVIDIA GPU and driver")
        )
    return checks


def _packages() -> list[Check]:
    checks = []
    for extra, names in _PACKAGES.items():
        for name in names:
            found = _version(name)
            install = "pip install passerby" if extra == "pipeline" else f"pip install 'passerby[{extra}]'"
            checks.append(Check(extra, name, "ok" if found else "missing", found or "not installed", "" if found else install))
    opencv = [name for name in _OPENCV if _version(name)]
    if len(opencv) > 1:  # they overwrite each other's files
        way_out = f"keep one: pip uninstall {' '.join(opencv)}, then pip install opencv-contrib-python"
        checks.append(Check("generation", "opencv", "missing", " and ".join(opencv), way_out))
    numpy = _version("numpy")
    if numpy and not numpy.startswith("1."):
        checks.append(Check("pipeline", "numpy < 2", "missing", numpy, "mediapipe needs it: pip install 'numpy<2'"))
    return checks


def _models() -> list[Check]:
    spec = importlib.util.find_spec("generation")  # finds the folder without importing anything of it
    roots = [Path(p) for p in spec.submodule_search_locations or ()] if spec else []
    checks = []
    for name, marker in _MODELS.items():
        folder = next((f for root in roots if (f := root / "embedded" / "weights" / name).is_dir()), None)
        whole = folder is not None and (folder / marker).exists() and any(folder.rglob("*.safetensors"))
        size = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6 if folder else 0.0
        found = f"{size:.1f} MB" if whole else "incomplete" if folder else "no folder"
        way_out = "" if whole else f"train it: python -m generation.embedded train-{name}; or restore the files from the repository"
        checks.append(Check("embedded models", name, "ok" if whole else "missing", found, way_out))
    return checks


def _slurm() -> list[Check]:
    missing = [name for name in _SLURM if shutil.which(name) is None]
    found = ", ".join(name for name in _SLURM if name not in missing) or "none"
    if not missing:
        return [Check("slurm", "commands", "ok", found)]
    return [Check("slurm", "commands", "absent", found, f"only for clusters; not on PATH: {', '.join(missing)}")]


def _disk(folder: Path) -> Check:
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free / 1e9
    enough = free >= _MIN_FREE_GB
    way_out = "" if enough else f"at least {_MIN_FREE_GB:.0f} GB; free some, or write elsewhere with --set run.folder=DIR"
    return Check("disk", str(existing), "ok" if enough else "missing", f"{free:.1f} GB free", way_out)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
