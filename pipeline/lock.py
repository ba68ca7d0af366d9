"""One `passerby run` at a time in a run folder. The kernel lets go of the lock when its holder ends, however it ends."""

import errno
import fcntl
import json
import logging
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.paths import RunPaths

log = logging.getLogger(__name__)
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # Lustre without -o flock, some NFS: better no lock than no run


@contextmanager
def run_lock(paths: RunPaths, wait_s: float = 2.0) -> Iterator[None]:
    """Hold RUN/.lock while the block runs. Waits a moment for a killed predecessor to go, then raises ConfigError naming the holder."""
    try:
        paths.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as err:
        raise StageError(f"cannot write {paths.lock}: {err.strerror}; choose another folder with --set run.folder=DIR") from err
    try:
        deadline = time.monotonic() + wait_s
        while not _try(descriptor):
            if time.monotonic() > deadline:
                raise ConfigError(f"{paths.root} is being worked on by {_holder(paths)}; wait for it, or stop it, then run again")
            time.sleep(0.05)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid(), "host": platform.node()}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def is_locked(paths: RunPaths) -> bool:
    """Whether somebody is working on the run now."""
    try:
        descriptor = os.open(paths.lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as err:
        if err.errno not in _NO_LOCKS:
            raise
        log.warning("this file system knows no locks (%s): two runs at once in one folder are not noticed", err.strerror)
    return True


def _holder(paths: RunPaths) -> str:
    try:
        holder = json.loads(paths.lock.read_bytes())
        return f"process {holder['pid']} on {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
