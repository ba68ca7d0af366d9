"""Measures, decisions and the filter stage, on drawn figures and, where the reference data are at hand, on published pictures."""

import json
import multiprocessing
import os
import signal
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from generation.backends.pose import PoseDetector, painted_over
from generation.backends.pose_bundle import build_bundle, pose_model
from generation.backends.pose_pool import PosePool, WorkerDiedError
from generation.check_images import check_folder
from generation.config import FilterConfig
from generation.embedded.render.failures import render_failure
from generation.embedded.render.person import sample_person
from generation.embedded.render.scene import render_person
from generation.filter import FilterStage, _num_workers
from generation.filter_decision import REASONS, Thresholds, decide
from generation.image_measures import colour_variance, entropy_bits, laplacian_variance, measure_image, noise_sigma
from generation.images import Image, decode_item, encode_jpeg, encode_png
from generation.pose_measures import body_height, distinct_persons, is_whole, measure_persons
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.contracts.manifest import DoneRecord
from pipeline.contracts.sample import make_key
from pipeline.contracts.stage import Drop, Fail, Item, Keep
from pipeline.fused import Link, run_fused
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_units
from pipeline.signals import Stopped
from pipeline.tables import read_rows
from tests.unit.generation.hanging import hang_on_black, load_nothing
from tests.unit.pipeline.fake_flow import snapshot

IN_PROCESS = FilterConfig(num_workers=0)


def figure(seed: int = 0, view: str = "front") -> Image:
    rng = np.random.default_rng(seed)
    return render_person(sample_person(rng), rng, view=view).image


def standing(height: int = 100, left: float = 50.0) -> np.ndarray:
    """A made-up person with all points present and visible, head to ankles `height` px, in a 200x100 (HxW) picture."""
    person = np.ones((33, 4), np.float32)
    person[:, 0] = left
    for point, share in {0: 0.0, 11: 0.12, 12: 0.12, 23: 0.45, 24: 0.45, 25: 0.72, 26: 0.72, 27: 1.0, 28: 1.0}.items():
        person[point, 1] = 40 + share * height
    person[11, 0], person[12, 0] = left + 10, left - 10
    return person


@pytest.fixture(scope="module")
def good() -> dict[str, float]:
    image = figure()
    return measure_image(image, 1000) | measure_persons([standing(120)], 100, 200)


@pytest.fixture(scope="module")
def detector() -> Iterator[PoseDetector]:
    loaded = PoseDetector(pose_model("embedded"))
    yield loaded
    loaded.close()


# ---- measures -------------------------------------------------------------------------------------------------------------------------
def test_colour_variance_sees_through_a_tint() -> None:
    grey = np.random.default_rng(0).integers(0, 200, (64, 32, 1)).astype(np.float32)
    sepia = np.concatenate([grey * 1.1 + 8, grey * 0.95, grey * 0.75], axis=2).round().astype(np.uint8)
    assert colour_variance(np.repeat(grey, 3, axis=2).astype(np.uint8)) < 0.1
    assert colour_variance(sepia) < 1
    assert sepia.astype(float).var(axis=2).mean() > 100  # what the plain variance says of it
    assert colour_variance(figure()) > 20


def test_entropy_of_known_histograms() -> None:
    assert entropy_bits(np.full((8, 8), 7, np.float32)) == 0
    assert entropy_bits(np.repeat(np.arange(4, dtype=np.float32) * 60, 16)) == 2


def test_noise_is_measured_in_grey_levels_and_edges_do_not_count() -> None:
    rng = np.random.default_rng(0)
    edges = np.where(np.arange(100) < 50, 20.0, 200.0) * np.ones((100, 1))
    assert noise_sigma(edges.astype(np.float32)) == 0
    assert noise_sigma((edges + rng.normal(0, 8, edges.shape)).astype(np.float32)) == pytest.approx(8, rel=0.15)


def test_laplacian_variance_falls_with_blur() -> None:
    sharp = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((8, 8))).astype(np.float32) * 255
    soft = sum(np.roll(sharp, (dy, dx), (0, 1)) for dy in range(-2, 3) for dx in range(-2, 3)) / 25
    assert laplacian_variance(soft.astype(np.float32)) < laplacian_variance(sharp) / 10


def test_measures_agree_across_sizes() -> None:
    small, large = figure(), np.repeat(np.repeat(figure(), 2, axis=0), 2, axis=1)
    one, two = measure_image(small, 1), measure_image(large, 1)
    for name in ("luma_std", "colour_variance", "laplacian_variance", "jpeg_bytes_per_px"):
        assert two[name] == pytest.approx(one[name], rel=0.05)


def test_two_poses_of_one_body_are_one_person() -> None:
    main, ghost, other = standing(120), standing(118, left=53), standing(110, left=90)
    assert len(distinct_persons([ghost, main])) == 1
    assert len(distinct_persons([main, other])) == 2


def test_bystanders_and_upside_down_ghosts_are_not_counted() -> None:
    small, upside_down = standing(30, left=90), standing(110, left=90)
    upside_down[:, 1] = 200 - upside_down[:, 1]
    assert measure_persons([standing(120), small], 100, 200)["num_persons"] == 1
    assert measure_persons([standing(120), upside_down], 100, 200)["num_persons"] == 1
    assert measure_persons([standing(120), standing(90, left=90)], 100, 200)["num_persons"] == 2


# ---- decisions ------------------------------------------------------------------------------------------------------------------------
def test_a_whole_standing_person_is_kept(good: dict[str, float]) -> None:
    assert decide(good, Thresholds()) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"luma_std": 1.0}, "blank_image"),
        ({"entropy_bits": 0.5}, "blank_image"),
        ({"colour_variance": 3.0}, "grayscale_image"),
        ({"laplacian_variance": 1.0}, "blurred_image"),
        ({"noise_sigma": 25.0}, "noisy_image"),
        ({"jpeg_bytes_per_px": 0.05}, "tiny_file"),
        ({"num_persons": 0}, "no_person"),
        ({"num_persons": 2}, "several_persons"),
        ({"presence_ankles": 0.1}, "incomplete_body"),
        ({"presence_nose": 0.1}, "incomplete_body"),
        ({"visibility_knees": 0.1}, "incomplete_body"),
        ({"visible_keypoints": 9}, "incomplete_body"),
        ({"margin_top": -0.07}, "body_out_of_frame"),
        ({"margin_left": -0.1}, "body_out_of_frame"),
        ({"leg_ratio": 0.7}, "not_standing"),
        ({"head_ratio": -0.2}, "not_standing"),
        ({"body_share": 0.2}, "small_person"),
    ],
)
def test_each_reason_has_its_measure(good: dict[str, float], change: dict[str, float], reason: str) -> None:
    assert decide(good | change, Thresholds()) == reason
    assert reason in REASONS


def test_a_kneeling_or_overturned_body_does_not_stand(good: dict[str, float]) -> None:
    kneeling = standing(120)
    kneeling[[25, 26, 27, 28], 1] = kneeling[23, 1] + 30  # knees and ankles at one height, a thigh below the hips
    assert decide(good | measure_persons([kneeling], 100, 200), Thresholds()) == "not_standing"
    overturned = standing(120)
    overturned[:, 1] = 200 - overturned[:, 1]
    measures = {name: value for name, value in good.items() if name not in ("leg_ratio", "head_ratio")}
    assert decide(measures | measure_persons([overturned], 100, 200), Thresholds()) == "not_standing"


def test_decisions_need_stored_measures_only(good: dict[str, float]) -> None:
    stored = json.loads(json.dumps(good))
    assert decide(stored, Thresholds(min_body_share=0.99)) == "small_person"
    assert decide(stored | {"noise_sigma": 99}, Thresholds(max_noise_sigma=None)) is None


def test_impossible_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_persons=0"):
        Thresholds(max_persons=0)
    with pytest.raises(ConfigError, match="min_presence"):
        Thresholds(min_presence=1.5)
    assert all(f.default is not None for f in fields(Thresholds))


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


def test_a_task_file_that_is_none_is_a_stage_error(tmp_path: Path) -> None:
    (tmp_path / "bad.task").write_bytes(b"no model")
    stage = FilterStage(replace(IN_PROCESS, pose_model=str(tmp_path / "bad.task")))
    with pytest.raises(StageError, match="does not load"):
        stage.setup()


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


def _load_nothing(model: str) -> None:
    pass


def _die_on_black(image: Image) -> list[np.ndarray]:
    if image.max() == 0:
        os._exit(9)
    return [np.full((33, 4), image.max(), np.float32)]


def test_a_dead_worker_costs_its_own_picture_only() -> None:
    pool = PosePool(Path("unused"), 2, work=_die_on_black, load=_load_nothing)
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


def _die_on_white(image: Image) -> list[np.ndarray]:
    if image.min() == 255:
        os._exit(9)
    return [standing()]


class Plain:
    """Draws one grey level a picture; number 3 is white."""

    name, reads_images, writes_images, batch_size = "generate", False, True, 2

    def setup(self) -> None: ...
    def teardown(self) -> None: ...

    def process(self, batch: Sequence[Item]) -> Sequence[Keep]:
        levels = [255 if int(item.key[:9]) == 3 else 10 + int(item.key[:9]) for item in batch]
        return [Keep({"level": level}, encode_png(np.full((200, 100, 3), level, np.uint8))) for level in levels]


def drawn_and_filtered(paths: RunPaths) -> list[Link]:
    """Stages over two units of four pictures; key points by a process that the white picture kills."""
    stage = FilterStage(FilterConfig(batch_size=2))
    stage._pool = PosePool(Path("unused"), 1, work=_die_on_white, load=_load_nothing)

    def drawn(unit: int) -> UnitInput:
        return UnitInput([Item(key, {"key": key, "status": "kept"}) for i in range(4) for key in [make_key(unit * 4 + i, 0)]], "in")

    return [Link(Plain(), "generate", drawn), Link(stage, "filter", chained_input(paths, "generate", "generate", True))]


def test_fused_a_dying_pose_process_costs_its_picture_and_a_signal_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.filter.decide", lambda measures, thresholds: None)
    one, other = RunPaths(tmp_path / "fused"), RunPaths(tmp_path / "staged")

    def leave(record: DoneRecord) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    before = multiprocessing.active_children()  # of other tests
    with pytest.raises(Stopped, match="SIGTERM"):
        run_fused(drawn_and_filtered(one), one, [0, 1], on_unit=leave)
    assert set(multiprocessing.active_children()) <= set(before)
    assert 1 not in one.done_units("filter")
    run_fused(drawn_and_filtered(one), one, [0, 1])
    for link in drawn_and_filtered(other):
        run_units(link.stage, other, [0, 1], config_digest=link.config_digest, inputs=link.inputs)
    assert snapshot(one.root) == snapshot(other.root)
    rows = [row for unit in (0, 1) for row in read_rows(one.ledger("filter", unit))]
    assert [row["reason"] for row in rows] == [None, None, None, "pose_worker_died", None, None, None, None]


# ---- the stage ------------------------------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def stage() -> Iterator[FilterStage]:
    made = FilterStage(IN_PROCESS)
    made.setup()
    yield made
    made.teardown()


def test_measures_are_stored_for_kept_and_dropped_alike(stage: FilterStage) -> None:
    rng = np.random.default_rng(0)
    pictures = [figure(3), render_failure("gray", rng), render_failure("blank", rng), render_failure("no_person", rng)]
    kept, *dropped = stage.process([Item(str(i), {}, encode_png(p)) for i, p in enumerate(pictures)])
    assert isinstance(kept, Keep)
    assert len(kept.row["keypoints"]) == 33
    assert [o.reason for o in dropped if isinstance(o, Drop)] == ["grayscale_image", "blank_image", dropped[2].reason]  # type: ignore[union-attr]
    assert all(o.row["measures"]["width_px"] == 128 for o in (kept, *dropped) if not isinstance(o, Fail))
    json.dumps(kept.row)


def test_pictures_are_measured_while_the_pool_looks_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    class Pool:
        def begin(self, images: list[Image]) -> Callable[[], list[list[np.ndarray]]]:
            order.append("begin")
            return lambda: order.append("wait") or [[standing()] for _ in images]  # type: ignore[func-returns-value]

    monkeypatch.setattr("generation.filter.measure_image", lambda image, size: order.append("measure") or {"encoded_bytes": size})
    stage = FilterStage(FilterConfig())
    stage._pool = Pool()  # type: ignore[assignment]
    monkeypatch.setattr("generation.filter.decide", lambda measures, thresholds: None)
    pictures = [encode_png(figure(1)), b"junk", encode_png(figure(2))]
    outcomes = stage.process([Item(str(i), {}, picture) for i, picture in enumerate(pictures)])
    assert order == ["begin", "measure", "measure", "wait"]
    assert [o.row["measures"]["encoded_bytes"] for o in outcomes if isinstance(o, Keep)] == [len(pictures[0]), len(pictures[2])]


def test_a_process_a_core_but_no_more_than_pictures_in_a_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("generation.filter.num_cpus", lambda: 6)
    assert [_num_workers(FilterConfig(batch_size=size)) for size in (64, 4)] == [6, 4]
    assert [_num_workers(FilterConfig(num_workers=n)) for n in (0, 1, 9)] == [0, 1, 9]


def test_a_corrupt_picture_fails_and_the_others_go_on(stage: FilterStage) -> None:
    good_picture = encode_png(figure(3))
    outcomes = stage.process(
        [Item("a", {}, b"no picture"), Item("b", {}, good_picture), Item("c", {}, good_picture[:200]), Item("d", {}, b"")]
    )
    assert [type(o) for o in outcomes] == [Fail, Keep, Fail, Fail]
    assert {o.reason for o in outcomes if isinstance(o, Fail)} == {"corrupt_image"}


def test_nine_in_ten_drawn_people_are_kept_and_failures_dropped(stage: FilterStage) -> None:
    people = [figure(seed, ("front", "side", "back")[seed % 3]) for seed in range(20)]
    outcomes = stage.process([Item(str(i), {}, encode_png(p)) for i, p in enumerate(people)])
    assert sum(isinstance(o, Keep) for o in outcomes) >= 18
    rng = np.random.default_rng(5)
    for kind, least in {"no_person": 3, "half_body": 2, "two_people": 2, "gray": 3, "blank": 3, "blurred": 3}.items():
        items = [Item(str(i), {}, encode_png(render_failure(kind, rng))) for i in range(3)]
        assert sum(isinstance(o, Drop) for o in stage.process(items)) >= least, kind


def test_published_examples_are_judged_as_published(shared: Path) -> None:
    folder = shared / "data" / "mals_examples"
    wanted = {record["file"]: record["verdict"] for record in json.loads((folder / "labels.json").read_text(encoding="utf-8"))}
    found = {row["file"]: row["verdict"] for row in check_folder(folder, IN_PROCESS)}
    assert found.keys() == wanted.keys()
    assert all(found[name] == "keep" for name, verdict in wanted.items() if verdict == "keep")
    assert sum(found[name] == "drop" for name, verdict in wanted.items() if verdict == "drop") >= 9


def test_check_folder_has_a_verdict_on_links_to_nowhere_and_none_on_folders(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    rows = list(check_folder(tmp_path, IN_PROCESS))
    assert [(row["file"], row["verdict"], row["reason"]) for row in rows] == [("link.png", "drop", "corrupt_image")]


def test_check_folder_gives_a_row_for_every_picture(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(encode_jpeg(figure(3), 95))
    (tmp_path / "a.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    rows = list(check_folder(tmp_path, IN_PROCESS))
    assert [(r["file"], r["verdict"], r["reason"]) for r in rows] == [("a.png", "drop", "corrupt_image"), ("b.jpg", "keep", None)]
    assert rows[1]["measures"]["num_persons"] == 1


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="holds no picture"):
        list(check_folder(tmp_path, IN_PROCESS))
    with pytest.raises(ContractError, match="is not a folder"):
        list(check_folder(tmp_path / "none", IN_PROCESS))


def test_a_header_that_promises_more_pixels_than_memory_is_a_corrupt_picture() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    outcome = decode_item(png)
    assert isinstance(outcome, Fail)
    assert outcome.reason == "corrupt_image"
