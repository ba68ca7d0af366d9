"""Key points of drawn figures, in this process and in others, which may die or hang."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from generation.backends import pose_pool
from generation.backends.pose import PoseDetector, painted_over
from generation.backends.pose_bundle import build_bundle, pose_model
from generation.backends.pose_pool import PosePool, WorkerDiedError
from generation.pose_measures import body_height, is_whole
from pipeline.contracts.errors import ConfigError
from tests.unit.generation.figures import figure
from tests.unit.generation.pose_workers import die_on_black, hang_on_black, hang_the_first, load_nothing


@pytest.fixture(scope="module")
def detector() -> Iterator[PoseDetector]:
    loaded = PoseDetector(pose_model("embedded"))
    yield loaded
    loaded.close()


# ---- pose -----------------------------------------------------------------------------------------------------------------------------
def test_bundle_is_built_alike_each_time() -> None:
    assert build_bundle() == build_bundle()


def test_drawn_people_are_found_whole_from_three_sides(detector: PoseDetector) -> None:
    found = [detector.detect(figure(seed, view)) for seed in range(4) for view in ("front", "side", "back")]
    whole = [bool(persons) and is_whole(persons[0]) for persons in found]
    assert sum(whole) >= 11
    heights = [body_height(persons[0]) for persons, fine in zip(found, whole, strict=True) if fine]
    assert all(120 < h < 256 for h in heights)  # px of the original picture, not of the enlarged one


def test_coordinates_do_not_depend_on_the_pictures_size(detector: PoseDetector) -> None:
    small = figure(1)
    large = np.repeat(np.repeat(small, 3, axis=0), 3, axis=1)
    one, three = detector.detect(small)[0], detector.detect(large)[0]
    assert np.abs(three[:29, :2] / 3 - one[:29, :2]).max() < 8


def test_painting_over_hides_the_person(detector: PoseDetector) -> None:
    image = figure(1)
    covered = painted_over(image, detector.detect(image)[0])
    assert covered.shape == image.shape
    assert not any(is_whole(p) for p in detector.detect(covered))


def test_a_missing_task_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"filter\.pose_model"):
        pose_model(str(tmp_path / "none.task"))


def test_workers_in_processes_find_what_this_process_finds() -> None:
    pool = PosePool(pose_model("embedded"), 1)
    try:
        pool.warm_up()
        (there,) = pool.detect_all([figure(1)])
    finally:
        pool.close()
    (here,) = PosePool(pose_model("embedded"), 0).detect_all([figure(1)])
    assert not isinstance(there, WorkerDiedError)
    assert not isinstance(here, WorkerDiedError)
    assert np.array_equal(there[0], here[0])


def test_a_dead_worker_costs_its_own_picture_only() -> None:
    pool = PosePool(Path("unused"), 2, work=die_on_black, load=load_nothing)
    images = [np.full((8, 4, 3), value, np.uint8) for value in (1, 2, 0, 3, 4)]
    try:
        results = pool.detect_all(images)
        again = pool.detect_all(images[:2])
    finally:
        pool.close()
    assert [isinstance(r, WorkerDiedError) for r in results] == [False, False, True, False, False]
    assert [int(r[0][0, 0]) for r in (results[0], results[1], results[3], results[4], *again)] == [1, 2, 3, 4, 1, 2]  # type: ignore[index]


def test_a_worker_that_hangs_costs_its_own_picture_only() -> None:
    pool = PosePool(Path("unused"), 2, work=hang_on_black, load=load_nothing)
    images = [np.full((8, 4, 3), value, np.uint8) for value in (1, 0, 2, 3)]
    try:
        pool.detect_all(images[:1])  # the workers are there: what follows is not their start
        pool.timeout_s = 5.0
        results = pool.detect_all(images)
    finally:
        pool.close()
    assert [isinstance(r, WorkerDiedError) for r in results] == [False, True, False, False]
    assert [int(r[0][0, 0]) for r in (results[0], results[2], results[3])] == [1, 2, 3]  # type: ignore[index]


def test_a_worker_that_hangs_while_it_loads_ends_with_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pose_pool, "CLOSE_S", 0.2)
    pool = PosePool(tmp_path / "first", 2, work=hang_on_black, load=hang_the_first)
    images = [np.full((8, 4, 3), value, np.uint8) for value in range(1, 7)]
    results = pool.detect_all(images)
    workers = list(pool._started()._processes.values())
    pool.close()
    assert [int(r[0][0, 0]) for r in results] == [1, 2, 3, 4, 5, 6]  # type: ignore[index]
    assert [worker.is_alive() for worker in workers] == [False, False]
