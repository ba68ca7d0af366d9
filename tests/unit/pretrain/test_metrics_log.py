"""metrics.jsonl on a disk that becomes full."""

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.contracts.errors import StageError
from pretrain.metrics_log import MetricsLog, read_lines

FIRST = {"step": 1, "train/total": 1.0}


@contextmanager
def _files_of_at_most(num_bytes: int) -> Iterator[None]:
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize(
    "add", [lambda log: log.write({"step": 2, "train/total": 2.0}), lambda log: log.add_scores(1, {"map": 0.5, "recall@1": 0.25})]
)
def test_a_line_for_which_there_is_half_the_room_is_an_error_and_leaves_whole_lines(tmp_path: Path, add: Callable[[Any], None]) -> None:
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    log.write(FIRST)
    with _files_of_at_most(path.stat().st_size + 10), pytest.raises(StageError, match=r"cannot write .*; free some space, then run again"):
        add(log)
    assert path.read_bytes().endswith(b"\n")
    assert read_lines(path) == [FIRST]
    add(log)
    log.close()
    assert len(path.read_bytes().splitlines()) == len(read_lines(path))
    assert read_lines(path) != [FIRST]
