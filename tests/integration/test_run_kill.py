"""SIGKILL at any line, then run again: the same bytes as an uninterrupted run. Stages are fake, processes and files are real."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.unit.pipeline.fake_flow import snapshot, write_config

ROOT = Path(__file__).parents[2]
STAGES = ("prompts", "generate", "filter", "recrop", "caption", "annotate", "shard")
FUSED = ("prompts", "fused", "shard")

# Runs all stages in one process and kills itself when `limit` lines of pipeline/ have run; prints how many there were if it lives.
FLOW = """
import os, signal, sys, threading
from pathlib import Path
import pipeline
from pipeline.config import read_yaml
from tests.unit.pipeline.fake_flow import run_stage
import pyarrow.parquet
config, limit = read_yaml(Path(sys.argv[1])), int(sys.argv[2])
folder = os.path.dirname(pipeline.__file__)
lines = 0
def trace(frame, event, argument):
    global lines
    if not frame.f_code.co_filename.startswith(folder):
        return None
    if event == "line":
        lines += 1
        if lines == limit:
            os.kill(os.getpid(), signal.SIGKILL)
    return trace
threading.settrace(trace)  # fused stages are threads
sys.settrace(trace)
for name in sys.argv[3:]:
    run_stage(config, name)
sys.settrace(None)
print(lines)
"""

# `passerby run` with the fake flow in place of the stage package
RUN = """
import sys
from pipeline import describe, workers
describe.GENERATION = workers.GENERATION = (sys.executable, "-m", "tests.unit.pipeline.fake_flow")
from pipeline.cli import main
main(["run", *sys.argv[1:]])
"""


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(
        argv, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = child.communicate(timeout=120)
    return child.returncode, out, err


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """(bytes of every file, number of lines) of a run that nobody killed."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    code, out, err = finish(start(FLOW, write_config(folder), 0, *STAGES))
    assert code == 0, err
    return snapshot(folder / "run"), int(out)


def test_killed_at_random_lines_and_run_again_gives_the_same_bytes(uninterrupted, tmp_path):
    expected, num_lines = uninterrupted
    choose = random.Random(20)
    for number in range(8):
        folder = tmp_path / str(number)
        folder.mkdir()
        recipe = write_config(folder)
        limit = choose.randrange(1, num_lines)
        assert finish(start(FLOW, recipe, limit, *STAGES))[0] == -signal.SIGKILL, limit
        code, _, err = finish(start(FLOW, recipe, 0, *STAGES))
        assert code == 0, err
        assert snapshot(folder / "run") == expected, f"killed at line {limit} of {num_lines}"


def test_killed_over_and_over_it_still_gets_there(uninterrupted, tmp_path):
    expected, num_lines = uninterrupted
    recipe, codes = write_config(tmp_path), []
    for limit in range(num_lines // 6, num_lines, num_lines // 6):
        codes.append(finish(start(FLOW, recipe, limit, *STAGES))[0])
    assert codes[:3] == [-signal.SIGKILL] * 3
    assert finish(start(FLOW, recipe, 0, *STAGES))[0] == 0
    assert snapshot(tmp_path / "run") == expected


@pytest.mark.parametrize(("first", "then"), [(FUSED, FUSED), (FUSED, STAGES), (STAGES, FUSED)])
def test_fused_killed_at_random_lines_and_continued_either_way_gives_the_same_bytes(uninterrupted, tmp_path, first, then):
    expected, num_lines = uninterrupted
    choose = random.Random(len(first) * 10 + len(then))
    killed = 0
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        recipe = write_config(folder)
        limit = choose.randrange(num_lines // 8, num_lines)
        killed += finish(start(FLOW, recipe, limit, *first))[0] == -signal.SIGKILL
        code, _, err = finish(start(FLOW, recipe, 0, *then))
        assert code == 0, err
        assert snapshot(folder / "run") == expected, f"killed at line {limit} of about {num_lines}"
    assert killed >= 2, "most were to be killed"


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")
@pytest.mark.parametrize("executions", [("staged",), ("fused", "staged")])
def test_passerby_run_killed_with_its_workers_at_random_times_completes_with_the_same_bytes(uninterrupted, tmp_path, executions):
    pids = tmp_path / "pids"
    pids.mkdir()
    recipe = write_config(tmp_path, delay_s=0.05, pids=str(pids))
    choose = random.Random(4)
    for number in range(4):
        child = start(RUN, recipe, "--workers", 2, "--set", f"run.execution={executions[number % len(executions)]}")
        before, deadline = len(list(pids.iterdir())), time.monotonic() + 30
        while len(list(pids.iterdir())) == before and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)  # until a worker has started, which takes long on a busy machine
        time.sleep(choose.uniform(0.0, 1.5))
        child.kill()
        finish(child)
    assert list(pids.iterdir()), "no worker had started: nothing was tested"
    code, _, err = finish(start(RUN, recipe, "--workers", 2))
    assert code == 0, err
    assert snapshot(tmp_path / "run") == uninterrupted[0]
    assert all(is_gone(int(path.name)) for path in pids.iterdir())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_run_takes_its_workers_along_and_says_how_to_go_on(tmp_path, number):
    pids = tmp_path / "pids"
    pids.mkdir()
    child = start(RUN, write_config(tmp_path, trouble={"generate": "hang"}, pids=str(pids)), "--workers", 2)
    deadline = time.monotonic() + 30
    while len(list(pids.iterdir())) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(number)
    code, _, err = finish(child)
    assert (code, err) == (1, f"StageError: stopped by {number.name}; run again to continue\n")
    assert all(is_gone(int(path.name)) for path in pids.iterdir())
