"""What a benchmark ran on."""

import os
import platform
import sysconfig
from importlib.metadata import version
from pathlib import Path


def machine(*packages: str) -> str:
    """Processor, cores, system, Python and how it was built, versions of packages."""
    return "; ".join(
        [f"{_processor()}, {os.cpu_count()} cores", f"{platform.system()} {platform.release()}", _python(), *map(_version, packages)]
    )


def _processor() -> str:
    """As Linux names it, else what Python knows."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()


def _python() -> str:
    """Builds that were optimised by a profile of themselves are faster by a seventh and more."""
    optimised = "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "")
    return f"Python {platform.python_version()} built {'with' if optimised else 'without'} --enable-optimizations"


def _version(package: str) -> str:
    return f"{package} {version(package)}"
