"""What this machine has, found without importing torch."""

import os
import shutil
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Gpu:
    """index: as nvidia-smi and CUDA_VISIBLE_DEVICES count. memory_mib: total."""

    index: str
    name: str
    memory_mib: int


CPUS = "PASSERBY_CPUS"  # environment: of the cores of this task, how many are this worker's share
# OpenMP threads of a worker on a CPU: as fast when all cores have a worker, and the rounding of a sum does not depend on their number.
WORKER_THREADS = "1"


def num_cpus() -> int:
    """Cores that this process may use: in a batch job fewer than the machine has, beside other workers its share of them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    share = os.environ.get(CPUS, "")
    return min(cores, max(int(share), 1)) if share.isdigit() else cores


def gpus() -> list[Gpu]:
    """NVIDIA devices that this process may use; empty where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = [tool, "--query-gpu=index,name,memory.total", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout  # noqa: S603 -- argv list, no shell
    except (subprocess.SubprocessError, OSError):
        return []
    found = [_parse(line) for line in answer.splitlines() if line.count(",") >= 2]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    allowed = [name.strip() for name in visible.split(",")]
    return [gpu for gpu in found if gpu.index in allowed]


def _parse(line: str) -> Gpu:
    index, *name, memory = (part.strip() for part in line.split(","))
    return Gpu(index, ",".join(name), int(memory) if memory.isdigit() else 0)
