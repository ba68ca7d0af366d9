"""What a benchmark ran on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path


def machine(*packages: str) -> str:
    """Processor, cores, system, Python, versions of packages."""
    system, python = f"{platform.system()} {platform.release()}", f"Python {platform.python_version()}"
    return "; ".join([f"{_processor()}, {os.cpu_count()} cores", system, python, *map(_version, packages)])


def _processor() -> str:
    """As Linux names it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _version(package: str) -> str:
    return f"{package} {version(package)}"
