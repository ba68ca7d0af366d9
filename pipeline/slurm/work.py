"""The stage command of an array task: as the task runs it on its node, one worker a GPU, and as a dry run shows it."""

import logging
import os
from collections.abc import Sequence

from pipeline.machine import CPUS, gpus, num_cpus
from pipeline.paths import RunPaths
from pipeline.slurm.submission import Job, Submission
from pipeline.unit_list import format_units
from pipeline.workers import stage_arguments, worker_environment

log = logging.getLogger("task")


def stage_command(paths: RunPaths, sent: Submission, job: Job, units: Sequence[int]) -> list[str]:
    return [*sent.worker, job.stage, *stage_arguments(paths), "--units", format_units(units)]


def shares(paths: RunPaths, sent: Submission, job: Job, units: Sequence[int]) -> list[tuple[list[str], dict[str, str]]]:
    """Command line and environment of each worker: one a GPU of the task, with its part of the units and of the cores."""
    devices = _devices(job.gpus)[: max(len(units), 1)]
    cores = {CPUS: str(max(num_cpus() // len(devices), 1))} if len(devices) > 1 else {}
    parts = [units[i :: len(devices)] for i in range(len(devices))]
    return [
        (stage_command(paths, sent, job, part), worker_environment(device) | cores) for part, device in zip(parts, devices, strict=True)
    ]


def _devices(num_gpus: int) -> list[str | None]:
    """CUDA_VISIBLE_DEVICES of each worker; None where it stays as it is."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if num_gpus < 2:
        return [visible if num_gpus else None]
    found = [name.strip() for name in visible.split(",")] if visible else [gpu.index for gpu in gpus()]
    if len(found) < num_gpus:
        log.warning("%d GPUs were asked for, %d can be seen here (CUDA_VISIBLE_DEVICES=%s)", num_gpus, len(found), visible)
    return [*found[:num_gpus]] or [None]
