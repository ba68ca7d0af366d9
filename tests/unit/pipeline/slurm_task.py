"""A worker that does little, and what tests of a task on its node ask about it. The fixture `place` is in conftest.py."""

import os
import sys
import threading
import time

from pipeline.slurm import attempts

# Stands for a stage command: puts the records of its units back, one every STEP seconds, unless told otherwise by a file.
WORKER = """
import os, signal, sys, time
from pathlib import Path
from pipeline.unit_list import parse_units
root, step, arguments = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
units = parse_units(arguments[arguments.index("--units") + 1], 4)
told = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda n, frame: told.append(n))
(root / f"started-{os.getpid()}").touch()
for unit in units:
    away, done = root / "away" / f"{unit:06d}.json", root / "annotate" / "done" / f"{unit:06d}.json"
    if not away.exists():
        continue
    end = time.monotonic() + step
    while time.monotonic() < end:
        time.sleep(0.01)
        if signal.SIGTERM in told:
            sys.exit(75)
    if (root / "fail").exists():
        sys.exit("ValueError: no model")
    away.rename(done)
    if told:
        sys.exit(75)
"""


def with_step(place, step):
    place.submission.worker = [sys.executable, "-c", WORKER, str(place.paths.root), str(step)]
    return place


def left(place):
    return sorted(path.name for path in (place.paths.root / "away").iterdir())


def last(place):
    return attempts.earlier(place.file.parent, "annotate-0", 0)[-1]


def when_started(place, number, workers=1):
    """Send ourselves a signal a moment after the workers have begun, as Slurm does to the batch script's process."""

    def wait():
        while len(list(place.paths.root.glob("started-*"))) < workers:
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread
