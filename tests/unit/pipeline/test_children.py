"""Workers die with their parent and are stopped with all they started. Linux only, like the guarantee itself."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pipeline import children

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")


def wait_for(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def is_gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_child_dies_when_its_parent_is_killed(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path; from pipeline import children\n"
        "child = children.start([sys.executable, '-c', 'import time; time.sleep(60)'], None, os.environ)\n"
        f"Path({str(tmp_path / 'pid')!r}).write_text(f'{{child.pid}} '); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    assert wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith(" "))
    pid = int((tmp_path / "pid").read_text())
    assert not is_gone(pid)
    parent.kill()
    parent.wait()
    assert wait_for(lambda: is_gone(pid))


def test_stop_kills_what_ignores_sigterm_and_what_it_started(tmp_path):
    code = (
        "import os, signal, subprocess, sys, time; from pathlib import Path\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"Path({str(tmp_path / 'pid')!r}).write_text(f'{{inner.pid}} '); time.sleep(60)"
    )
    child = children.start([sys.executable, "-c", code], None, os.environ)
    assert wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().endswith(" "))
    children.stop([child], 0.2)
    assert child.returncode == -signal.SIGKILL
    assert wait_for(lambda: is_gone(int((tmp_path / "pid").read_text())))


@pytest.mark.parametrize(("code", "expected"), [("raise SystemExit(2)", 2), ("import os; os.kill(os.getpid(), 15)", 143), ("", 0)])
def test_hand_over_returns_the_exit_code(code, expected):
    before = signal.getsignal(signal.SIGTERM)
    assert children.hand_over([sys.executable, "-c", code]) == expected
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_that_was_handed_over_has_our_open_files():
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    assert children.hand_over([sys.executable, "-c", f"import os; os.write({writing}, b'read me')"]) == 0
    os.close(writing)
    with open(reading, "rb") as file:
        assert file.read() == b"read me"
