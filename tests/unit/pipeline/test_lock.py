import errno
import fcntl
import os

import pytest

from pipeline.contracts.errors import ConfigError, StageError
from pipeline.lock import is_locked, run_lock
from pipeline.paths import RunPaths


def test_a_second_holder_is_refused_with_the_name_of_the_first(tmp_path):
    paths = RunPaths(tmp_path)
    assert not is_locked(paths)
    with run_lock(paths):
        assert is_locked(paths)
        with pytest.raises(ConfigError, match=rf"being worked on by process {os.getpid()} on "), run_lock(paths, wait_s=0):
            raise AssertionError("unreachable")
    assert not is_locked(paths)
    with run_lock(paths, wait_s=0):
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match=r"cannot write .*file/run/\.lock"), run_lock(RunPaths(tmp_path / "file" / "run")):
        raise AssertionError("unreachable")


def test_a_file_system_without_locks_is_worked_on_with_a_warning(tmp_path, monkeypatch, caplog):
    def refuse(descriptor, kind):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with run_lock(RunPaths(tmp_path)):
        assert "two runs at once in one folder are not noticed" in caplog.text
