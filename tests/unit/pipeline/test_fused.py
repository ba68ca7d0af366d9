"""A chain in one process leaves what the stages leave one by one. Stages are fake, threads and files are real."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from pipeline import graph
from pipeline.config import read_yaml
from pipeline.contracts.errors import ContractError, StageError
from pipeline.contracts.stage import Drop, Item, Keep
from pipeline.fused import Link, run_fused
from pipeline.inputs import UnitInput, chained_input
from pipeline.paths import RunPaths
from pipeline.runner import run_units
from pipeline.signals import Stopped
from tests.unit.pipeline.fake_flow import PNG, FakeStage, generate_input, run_chain, run_stage, snapshot, stage_digests, write_config

NAMES = [spec.name for spec in graph.CHAIN]


@pytest.fixture(scope="module")
def staged(tmp_path_factory):
    """Every file of a run made stage by stage."""
    folder = tmp_path_factory.mktemp("staged")
    config = read_yaml(write_config(folder))
    for spec in graph.STAGES[:-1]:
        run_stage(config, spec.name)
    return snapshot(folder / "run")


@pytest.fixture
def config(tmp_path):
    config = read_yaml(write_config(tmp_path))
    run_stage(config, "prompts")
    return config


def files(config):
    return snapshot(_root(config))


def _root(config):
    return Path(config["run"]["folder"])


def test_all_files_are_those_of_the_stages_one_by_one(config, staged):
    report = run_chain(config)
    assert files(config) == staged
    assert [time.units for time in report.times] == [4] * 5
    assert len(report.records) == 20


@pytest.mark.parametrize("count", range(1, 5))
def test_begun_stage_by_stage_it_goes_on_fused_and_the_reverse(config, staged, count):
    for name in NAMES[:count]:
        run_stage(config, name, 0, 2)  # units 0 and 2
    run_chain(config, [0, 1])
    for name in NAMES:
        run_stage(config, name)
    assert files(config) == staged


def test_units_begin_at_the_first_stage_that_lacks_them_and_nothing_else_is_loaded(config, staged, monkeypatch):
    run_chain(config)
    root = _root(config)
    (root / "caption/done/000001.json").unlink()
    (root / "annotate/units/000002.parquet").unlink()
    report = run_chain(config)
    assert [(r.stage, r.unit) for r in sorted(report.records, key=lambda r: (r.unit, r.stage))] == [
        ("annotate", 1),
        ("caption", 1),
        ("annotate", 2),
    ]
    assert [time.stage for time in report.times] == ["caption", "annotate"]
    assert files(config) == staged
    monkeypatch.setattr(FakeStage, "setup", lambda self: pytest.fail("a model was loaded"))
    assert run_chain(config).records == []


def test_a_foreign_record_of_any_stage_is_refused_before_any_work(config):
    run_chain(config, [2])
    before = files(config)
    with pytest.raises(ContractError, match=r"000002\.json was made with another config of stage 'caption'"):
        run_chain({**config, "salt": {"caption": 1}})
    assert files(config) == before


class Odd(FakeStage):
    """Rows whose columns differ in kind and presence: what a table makes of them depends on the whole unit."""

    def one(self, item: Item):
        number = int(item.key[:9])
        if self.name == "filter":
            if number % 5 == 4:
                return Drop("blank_image", {"only_dropped": 1, "score": 0.5})
            return Keep({"score": number, "pair": (number, 1), "table": {1: "a"}} if number != 2 else {"score": None})
        return super().one(item)


def odd_links(paths):
    def made(unit):
        keys = [f"{i:09d}_00" for i in range(unit * 6, unit * 6 + 6)]
        return UnitInput([Item(key, {"key": key, "status": "kept", "reason": None}) for key in keys], "in")

    links = []
    for spec in graph.CHAIN:
        inputs = chained_input(paths, spec.rows_from, spec.images_from, spec.images_from is not None)
        first = spec.name == "generate"
        links.append(Link(Odd(spec.name), spec.name, made if first else inputs))
    return links


def test_rows_are_those_that_would_have_been_read_from_disk(tmp_path):
    one, other = RunPaths(tmp_path / "one"), RunPaths(tmp_path / "other")
    run_fused(odd_links(one), one, [0, 1])
    for link in odd_links(other):
        run_units(link.stage, other, [0, 1], config_digest=link.config_digest, inputs=link.inputs)
    assert snapshot(one.root) == snapshot(other.root)


class Lane(FakeStage):
    """Pictures by three threads; earlier batches take longer than later ones."""

    num_lanes = 1

    def setup(self) -> None:
        super().setup()
        self.num_lanes = 3  # known only when the model is loaded

    def __init__(self, fail_at: int = -1, slow_s: float = 0.0) -> None:
        super().__init__("generate")
        self.fail_at, self.slow_s = fail_at, slow_s
        self.threads, self.ahead, self.most_ahead = set(), 0, 0
        self.lock = threading.Lock()

    def compute(self, batch):
        number = int(batch[0].key[:9])
        with self.lock:
            self.threads.add(threading.get_ident())
            self.ahead += 1
            self.most_ahead = max(self.most_ahead, self.ahead)
        time.sleep(self.slow_s or (0.02 if number % 2 else 0.001))
        if number == self.fail_at:
            raise StageError("the device is gone")
        return [item.key for item in batch]

    def finish(self, batch, computed):
        with self.lock:
            self.ahead -= 1
        assert computed == [item.key for item in batch]
        return [self.one(item) for item in batch]


def lane_links(config, stage, delays=None):
    paths, digests = RunPaths(_root(config)), stage_digests(config)
    links = [Link(stage, digests["generate"], generate_input(paths, 6))]
    for spec in graph.CHAIN[1:]:
        inputs = chained_input(paths, spec.rows_from, spec.images_from, spec.images_from is not None)
        links.append(Link(FakeStage(spec.name, (delays or {}).get(spec.name, 0.0)), digests[spec.name], inputs))
    return links, paths


def test_lanes_work_side_by_side_and_change_no_byte(config, staged):
    stage = Lane()
    links, paths = lane_links(config, stage)
    report = run_fused(links, paths, range(4))
    assert files(config) == staged
    assert len(stage.threads) == 3
    assert report.times[0].lanes == 3
    assert stage.num_teardowns == 1


def test_a_fast_stage_waits_for_slow_ones_so_that_memory_is_bounded(config):
    stage = Lane(slow_s=0.001)
    links, paths = lane_links(config, stage, {"filter": 0.05})
    report = run_fused(links, paths, range(4))
    assert stage.most_ahead <= 3 + 2  # lanes, and what may lie between; there are 8 batches
    assert report.times[0].held > 0.05


@pytest.mark.parametrize("broken", ["lane", "middle", "last"])
def test_what_a_stage_raises_ends_all_threads_and_is_raised(config, staged, broken, monkeypatch):
    stage = Lane(fail_at=9 if broken == "lane" else -1)
    links, paths = lane_links(config, stage)
    if broken != "lane":
        bad = links[2 if broken == "middle" else 4].stage
        monkeypatch.setattr(bad, "one", lambda item: (_ for _ in ()).throw(StageError("the device is gone")))
    before = threading.active_count()
    with pytest.raises(StageError, match="the device is gone"):
        run_fused(links, paths, range(4))
    assert threading.active_count() == before
    assert [link.stage.num_teardowns for link in links] == [1] * 5
    run_chain(config)
    assert files(config) == staged


def test_a_stage_that_does_not_load_takes_the_others_down(config, monkeypatch):
    links, paths = lane_links(config, Lane())
    monkeypatch.setattr(links[3].stage, "setup", lambda: (_ for _ in ()).throw(StageError("no weights")))
    with pytest.raises(StageError, match="no weights"):
        run_fused(links, paths, range(4))
    assert [link.stage.num_teardowns for link in links] == [1] * 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_leave_it_finishes_or_drops_what_is_in_hand(tmp_path, number):
    folders = [tmp_path / name for name in ("stopped", "whole")]
    for folder in folders:
        folder.mkdir()
    config, whole = (read_yaml(write_config(folder, num_units=8)) for folder in folders)
    for made in (config, whole):
        run_stage(made, "prompts")
    run_chain(whole)
    stage = Lane(slow_s=0.05)
    links, paths = lane_links(config, stage)

    def leave(record):
        if record.stage == "filter" and record.unit == 0:
            os.kill(os.getpid(), number)

    with pytest.raises(Stopped, match=rf"stopped by {number.name} with \d units unfinished; run again to continue"):
        run_fused(links, paths, range(8), on_unit=leave)
    done = {name: paths.done_units(name) for name in NAMES}
    if number == signal.SIGUSR1:
        assert done["generate"] == done["annotate"] != []
    assert 7 not in done["annotate"]
    run_chain(config)
    assert files(config) == files(whole)


def test_pictures_are_there_only_for_stages_that_read_them(config):
    seen = {}

    class Looking(FakeStage):
        def one(self, item):
            seen.setdefault(self.name, item.image)
            return super().one(item)

    links, paths = lane_links(config, Lane())
    links[1:] = [Link(Looking(link.stage.name), link.config_digest, link.inputs) for link in links[1:]]
    links[-1].stage.reads_images = False
    run_fused(links, paths, [0])
    assert seen["filter"].startswith(PNG)
    assert seen["caption"][:2] == b"\xff\xd8"
    assert seen["annotate"] is None
