"""Pose detection of many pictures in worker processes: ordered, bounded, and alive after a worker has died.

A native crash on one picture must not take the task with it. Workers are spawned (MediaPipe and torch threads do not survive a fork), each
loads the model once. When a worker dies, all pictures in flight are tried again one at a time; the one that kills its worker twice is
reported as WorkerDiedError, all others get their result. A worker that gives no answer for TIMEOUT_S is killed, and then has died.
"""

import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from generation.backends.pose import PoseDetector
from generation.images import Image
from generation.pose_measures import Person
from pipeline.children import die_with_parent
from pipeline.contracts.errors import StageError

TIMEOUT_S = 600.0  # for a picture that takes 0.1 s, behind a model that may load from a slow disk
CLOSE_S = 5.0  # for idle workers to end by themselves


class WorkerDiedError(Exception):
    """The process died while it worked on this picture."""


class _HungError(BrokenProcessPool):
    """A worker gave no answer, and was killed with its neighbours: nobody knows which it was."""


_loaded: tuple[str, PoseDetector] | None = None  # the one model of this process


def _load(model: str) -> None:
    global _loaded
    if _loaded is None or _loaded[0] != model:
        _loaded = (model, PoseDetector(Path(model)))


def _detect(image: Image) -> list[Person]:
    assert _loaded is not None
    return _loaded[1].detect(image)


def _start_worker(parent: int, load: Callable[[str], None], model: str) -> None:
    die_with_parent(parent)  # a killed task must leave nobody behind
    load(model)


def _kill(workers: Iterable[BaseProcess]) -> None:
    for worker in list(workers):
        worker.kill()


class PosePool:
    """`detect_all` over `num_workers` processes; 0 works in this process."""

    def __init__(self, model: Path, num_workers: int, work: Callable[[Any], Any] = _detect, load: Callable[[str], None] = _load) -> None:
        self._model, self._num_workers, self._work, self._load = model, num_workers, work, load
        self._pool: ProcessPoolExecutor | None = None
        self.timeout_s = TIMEOUT_S

    def detect_all(self, images: Sequence[Image]) -> list[list[Person] | WorkerDiedError]:
        """Persons of each picture, in order. The caller's batch bounds what is in flight."""
        return self.begin(images)()

    def begin(self, images: Sequence[Image]) -> Callable[[], list[list[Person] | WorkerDiedError]]:
        """As `detect_all`, without waiting: the workers begin; calling what is returned waits for them. One batch at a time."""
        if self._num_workers == 0:
            self._load(str(self._model))
            found: list[list[Person] | WorkerDiedError] = [self._work(image) for image in images]
            return lambda: found
        try:
            futures = [self._started().submit(self._work, image) for image in images]
        except BrokenProcessPool:
            self._restart()
            return lambda: [self._alone(image) for image in images]
        return lambda: self._collect(images, futures)

    def start(self) -> None:
        """Let the workers begin to load, without waiting for them."""
        blank = np.zeros((64, 32, 3), np.uint8)
        for _ in range(self._num_workers):
            self._started().submit(self._work, blank)

    def warm_up(self) -> None:
        """Load the model in a worker now. Raises StageError where it does not load, before every picture is blamed for it."""
        try:
            self._work_on_blank()
        except (BrokenProcessPool, RuntimeError, ValueError) as err:
            raise StageError(
                f"pose model {self._model} does not load ({err}); give filter.pose_model=embedded or a pose .task file"
            ) from err

    def close(self) -> None:
        """Ends the workers. One that is still at it after CLOSE_S, as when it hangs while it loads, is killed."""
        if self._pool is None:
            return
        killer = threading.Timer(CLOSE_S, _kill, [list(self._pool._processes.values())])
        killer.start()
        try:
            self._pool.shutdown(wait=True, cancel_futures=True)
        finally:
            killer.cancel()
            self._pool = None

    def _work_on_blank(self) -> None:
        blank = np.zeros((64, 32, 3), np.uint8)
        if self._num_workers == 0:
            self.detect_all([blank])
        else:
            self._result(self._started().submit(self._work, blank))

    def _collect(self, images: Sequence[Image], futures: list["Future[list[Person]]"]) -> list[list[Person] | WorkerDiedError]:
        results: list[list[Person] | WorkerDiedError | None] = []
        for future in futures:
            try:
                results.append(self._result(future))
            except BrokenProcessPool:
                results.append(None)
        if any(result is None for result in results):
            self._restart()
        return [self._alone(image) if result is None else result for image, result in zip(images, results, strict=True)]

    def _alone(self, image: Image) -> list[Person] | WorkerDiedError:
        """With nothing else in flight, so that a death has one culprit. A second try forgives a kill from outside."""
        for _ in range(2):
            try:
                return self._result(self._started().submit(self._work, image))
            except _HungError as err:
                self._restart()
                return WorkerDiedError(f"the pose worker hangs on this picture: {err}")
            except BrokenProcessPool:
                self._restart()
        return WorkerDiedError("the pose worker died twice on this picture")

    def _result(self, future: "Future[list[Person]]") -> list[Person]:
        """Raises BrokenProcessPool if a worker has died, _HungError if one hangs."""
        try:
            return future.result(self.timeout_s)
        except TimeoutError as err:
            if future.done():  # it is the work's own error
                raise
            _kill(self._started()._processes.values())
            raise _HungError(f"no answer in {self.timeout_s:.0f} s") from err

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self._num_workers,
                mp_context=get_context("spawn"),
                initializer=_start_worker,
                initargs=(os.getpid(), self._load, str(self._model)),
            )
        return self._pool

    def _restart(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)  # it is broken: its other workers are being ended, and soon gone
            self._pool = None
