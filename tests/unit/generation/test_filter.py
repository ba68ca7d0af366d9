"""The filter stage, alone and fused, on drawn figures and, where the reference data are at hand, on published pictures."""

import json
import multiprocessing
import os
import signal
import struct
import weakref
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generation.backends.pose_pool import PosePool
from generation.config import FilterConfig
from generation.filter import FilterStage, _num_workers
from generation.images import Image, decode_item, encode_png
from pipeline.contracts.errors import StageError
from pipeline.contracts.manifest import DoneRecord
from pipeline.contracts.sample import make_key
from pipeline.contracts.stage import Drop, Fail, Item, Keep
from pipeline.fused import Link, run_fused
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_units
from pipeline.signals import Stopped
from pipeline.tables import read_rows
from tests.unit.generation.failures import render_failure
from tests.unit.generation.figures import figure, grainy, salted, standing
from tests.unit.generation.pose_workers import die_on_white, load_nothing
from tests.unit.pipeline.fake_flow import snapshot

IN_PROCESS = FilterConfig(num_workers=0)


def test_a_task_file_that_is_none_is_a_stage_error(tmp_path: Path) -> None:
    (tmp_path / "bad.task").write_bytes(b"no model")
    stage = FilterStage(replace(IN_PROCESS, pose_model=str(tmp_path / "bad.task")))
    with pytest.raises(StageError, match="does not load"):
        stage.setup()


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
    stage._pool = PosePool(Path("unused"), 1, work=die_on_white, load=load_nothing)

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


class Watched(PosePool):
    """Works in this process, and counts the pictures that are alive when a batch begins."""

    most_alive = 0

    def __init__(self) -> None:
        super().__init__(Path("unused"), 0, work=lambda image: [standing()], load=load_nothing)
        self._seen: list[weakref.ref[Image]] = []

    def begin(self, images: Sequence[Image]) -> Callable[[], list[Any]]:
        self._seen += [weakref.ref(image) for image in images]
        self.most_alive = max(self.most_alive, sum(seen() is not None for seen in self._seen))
        return super().begin(images)


@pytest.mark.parametrize("fused", [False, True])
def test_no_more_pictures_than_a_batch_are_unpacked_at_a_time(tmp_path: Path, fused: bool) -> None:
    links = drawn_and_filtered(paths := RunPaths(tmp_path))
    pool = links[1].stage._pool = Watched()  # type: ignore[attr-defined]
    units = [*range(6)]
    if fused:
        run_fused(links, paths, units)
    else:
        for link in links:
            run_units(link.stage, paths, units, config_digest=link.config_digest, inputs=link.inputs)
    assert len(pool._seen) == 1 + 24, "one to warm up"
    assert pool.most_alive == 2


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


def test_noisy_pictures_are_dropped_as_noise_and_clean_ones_of_the_same_people_kept(stage: FilterStage) -> None:
    rng = np.random.default_rng(1)
    people = [figure(seed, ("front", "side", "back")[seed % 3]) for seed in (1, 3, 5)]
    large = [np.repeat(np.repeat(person, 4, axis=0), 4, axis=1) for person in people]
    noisy = [spoilt for p in [*people, *large] for spoilt in (grainy(p, 15, rng), salted(p, 0.05, rng), salted(p, 0.02, rng))]
    outcomes = stage.process([Item(str(i), {}, encode_png(picture)) for i, picture in enumerate([*people, *noisy])])
    assert [o.reason if isinstance(o, Drop) else type(o) for o in outcomes] == [Keep] * len(people) + ["noisy_image"] * len(noisy)


def test_a_picture_that_holds_next_to_nothing_is_dropped_as_tiny(stage: FilterStage) -> None:
    bands = 20 + np.arange(256)[:, None, None] // 32 * 24 * np.array((1, 0.6, 0.3))  # light and dark, coloured, with a few sharp edges
    drawn = np.repeat(bands, 128, axis=1).astype(np.uint8)
    drawn[64:192, 32:96] = (200, 40, 40)
    (outcome,) = stage.process([Item("0", {}, encode_png(drawn))])
    assert isinstance(outcome, Drop)
    assert outcome.reason == "tiny_file"


def test_a_header_that_promises_more_pixels_than_memory_is_a_corrupt_picture() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")
    outcome = decode_item(png)
    assert isinstance(outcome, Fail)
    assert outcome.reason == "corrupt_image"
