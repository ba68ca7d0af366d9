"""What a benchmark ran on."""

import resource
from importlib.metadata import version

from pipeline.environment import describe_machine


def machine(*packages: str) -> str:
    """Processor, cores, memory, GPU, Python, versions of packages."""
    return "; ".join([*describe_machine().values(), *(f"{package} {version(package)}" for package in packages)])


def peak_mb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
