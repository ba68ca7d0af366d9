"""The worker processes of one stage on this machine: start, watch, stop. Each is the very command that a Slurm array task runs."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline import children, graph
from pipeline.contracts.errors import ConfigError, StageError
from pipeline.describe import GENERATION
from pipeline.logs import last_lines
from pipeline.machine import CPUS, WORKER_THREADS, gpus, num_cpus
from pipeline.paths import RunPaths, set_path
from pipeline.unit_list import format_units

POLL_S = 0.1
GRACE_S = 5.0  # short: killing a worker loses a unit in hand and nothing else
LOG_LINES = 15
# glibc gives every freed tensor back to the system, which hands it out again page by page. One arena, because those of threads but the
# first are small heaps that come and go whatever the thresholds
_KEEP_MEMORY = {"MALLOC_MMAP_THRESHOLD_": str(1 << 30), "MALLOC_TRIM_THRESHOLD_": str((1 << 31) - 1), "MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True, slots=True)
class Task:
    """One worker to be started: its part of the units, its environment and its log."""

    argv: tuple[str, ...]
    env: dict[str, str]
    log: Path
    name: str


def plan_tasks(command: str, paths: RunPaths, missing: Sequence[int], workers: int | None) -> list[Task]:
    """The workers of a stage command; the missing units are dealt out evenly.

    workers: None takes one worker a GPU for a command that wants one; without a GPU one a core, or one in all for the fused command,
    which fills the cores by itself. Each is told its share of the cores.
    """
    devices = gpus() if graph.resource(command) == "gpu" else []
    num_tasks = min(workers or len(devices) or (1 if command == graph.FUSED else num_cpus()), len(missing))
    share = {CPUS: str(max(num_cpus() // max(num_tasks, 1), 1))}
    tasks = []
    for task in range(num_tasks):
        argv = (*GENERATION, command, *stage_arguments(paths), "--units", format_units(missing[task::num_tasks]))
        env = worker_environment(devices[task % len(devices)].index if devices else None) | share
        tasks.append(Task(argv, env, paths.log(command, task), f"stage {command!r}, task {task} of {num_tasks}"))
    return tasks


def run_tasks(tasks: Sequence[Task], tick: Callable[[], None]) -> None:
    """Run all tasks side by side, calling `tick` while they do. Returns when all have ended well.

    As soon as one fails the others are stopped (what they finished stays) and the error carries the end of its log: ConfigError if the
    worker refused (exit code 2), else StageError. SIGTERM and SIGINT to this process stop the workers and raise StageError.
    """
    running: list[tuple[Task, subprocess.Popen[bytes], int]] = []
    with ExitStack() as stack:
        received = _listen(stack)
        started: list[subprocess.Popen[bytes]] = []
        stack.callback(children.stop, started, GRACE_S)  # ended ones too: they may have left a pool behind
        for task in tasks:
            task.log.parent.mkdir(parents=True, exist_ok=True)
            output = stack.enter_context(open(task.log, "ab"))
            begin = output.seek(0, os.SEEK_END)  # what lies before it is of an earlier start
            started.append(children.start(task.argv, output, task.env))
            running.append((task, started[-1], begin))
        while running:
            if received:
                raise StageError(f"stopped by {signal.Signals(received[0]).name}; run again to continue")
            for entry in list(running):
                task, child, begin = entry
                code = child.poll()
                if code is None:
                    continue
                running.remove(entry)
                if code != 0:
                    raise _failure(task, code, begin)
            tick()
            time.sleep(POLL_S)


def stage_arguments(paths: RunPaths) -> tuple[str, ...]:
    """Arguments of a stage command that name the run, wherever its folder lies now."""
    return "--config", str(paths.config), "--set", set_path("run.folder", paths.root)


def worker_environment(gpu: str | None) -> dict[str, str]:
    """The environment of a worker: its device, if it has one (as in CUDA_VISIBLE_DEVICES), and the same rounding wherever it runs."""
    env = dict(os.environ)
    if gpu is not None:
        env["CUDA_VISIBLE_DEVICES"] = gpu
    else:
        env.setdefault("OMP_NUM_THREADS", WORKER_THREADS)
        for name, value in _KEEP_MEMORY.items():
            env.setdefault(name, value)
    env["PYTHONUNBUFFERED"] = "1"
    return env


def _listen(stack: ExitStack) -> list[int]:
    """Signals received while `stack` is open; a list that the caller looks at between two polls."""
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(ValueError):  # not in the main thread: then its owner listens
            stack.callback(signal.signal, number, signal.signal(number, lambda n, frame: received.append(n)))
    return received


def _failure(task: Task, code: int, begin: int) -> Exception:
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
    if code == -signal.SIGKILL:
        end += " (by the system when memory runs out; then try --workers 1 or a smaller batch_size)"
    # a full disk has no room for the words that say so
    words = last_lines(task.log, LOG_LINES, begin) or [f"(nothing; {shutil.disk_usage(task.log.parent).free / 1e6:.1f} MB are free there)"]
    tail = "\n".join(f"  {line}" for line in words)
    kind = ConfigError if code == ConfigError.exit_code else StageError
    return kind(f"{task.name} {end}; the end of its log {task.log}:\n{tail}")
