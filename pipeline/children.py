"""Subprocesses that never outlive their parent: a second start after a kill must not race with workers of the first."""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import IO

_PR_SET_PDEATHSIG = 1
# looked up here, before any fork: between fork and exec a child must not load libraries
_PRCTL = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Call in a fresh child: the kernel kills it as soon as process `parent` is gone, however that ended. Only Linux can do this.

    Stages may pass it as initializer of their process pools, with os.getpid() of the pool's owner.
    """
    if _PRCTL is not None:
        _PRCTL(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os.kill(os.getpid(), signal.SIGKILL)


def _leash() -> Callable[[], None]:
    parent = os.getpid()
    return lambda: die_with_parent(parent)


def start(argv: Sequence[str], output: IO[bytes] | int | None, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start a worker in its own session: a Ctrl-C in the terminal reaches only us, and we decide. stdout and stderr go to `output`."""
    return subprocess.Popen(  # noqa: S603 -- argv list, no shell
        list(argv),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=dict(env),
        start_new_session=True,
        preexec_fn=_leash(),
    )


def stop(children: Sequence[subprocess.Popen[bytes]], grace_s: float) -> None:
    """SIGTERM to all, then after `grace_s` SIGKILL to their whole sessions, pools included."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    for child in children:
        try:
            child.wait(grace_s)
        except subprocess.TimeoutExpired:
            grace_s = 0.1  # the others have had their time as well
        _kill_session(child)
        child.wait()


def hand_over(argv: Sequence[str]) -> int:
    """Run a command in place of ours: same terminal, same open files (`passerby annotate-text <(zcat captions.gz)`), its exit code returned
    (128 + n after signal n). SIGTERM and Ctrl-C are passed on."""
    child = subprocess.Popen(list(argv), preexec_fn=_leash(), close_fds=False)  # noqa: S603 -- argv list, no shell
    before = signal.signal(signal.SIGTERM, lambda number, frame: child.send_signal(number))
    try:
        while True:
            try:
                code = child.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                continue  # the terminal has sent it to the child as well; its answer is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def _kill_session(child: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
