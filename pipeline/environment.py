"""Where numbers were measured: processor, memory, system and library versions. No names of hosts or people."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pipeline.machine import gpus, num_cpus

_LIBRARIES = ("passerby", "torch", "diffusers", "transformers", "deepspeed", "mediapipe")


def describe_machine() -> dict[str, str]:
    """{"processor", "cores", "memory", "gpu", "system"}; what is not there or cannot be found out is left out."""
    facts = {
        "processor": _processor(),
        "cores": f"{num_cpus()} cores",
        "memory": _memory(),
        "gpu": ", ".join(gpu.name for gpu in gpus()),
        "system": f"Python {platform.python_version()}",
    }
    return {name: fact for name, fact in facts.items() if fact}


def library_versions() -> dict[str, str]:
    """Installed versions, without importing anything."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):  # not every system counts its pages
        return ""
