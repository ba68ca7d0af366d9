import json
import os
import signal

import pytest

from pipeline.contracts.errors import ContractError
from pipeline.contracts.stage import Item, Keep
from pipeline.inputs import UnitInput, chained_input, read_items
from pipeline.paths import RunPaths
from pipeline.runner import run_single, run_units
from pipeline.signals import Stopped
from pipeline.tables import read_rows, write_rows
from pipeline.tars import read_tar
from tests.unit.pipeline.fake_flow import FakeStage, make_prompts, snapshot

KEYS = [f"{i:09d}_00" for i in range(10)]


@pytest.fixture
def paths(tmp_path):
    return RunPaths(tmp_path / "run")


def source(keys=KEYS, digest="in"):
    return lambda unit: UnitInput([Item(key, {"key": key, "status": "kept", "reason": None, "prompt": key}) for key in keys], digest)


def generate(paths, units=(0,), config_digest="c", inputs=None, stage=None):
    return run_units(stage or FakeStage("generate"), paths, units, config_digest=config_digest, inputs=inputs or source())


def filtered(paths, units=(0,)):
    return run_units(FakeStage("filter"), paths, units, config_digest="f", inputs=chained_input(paths, "generate", "generate", True))


def test_a_unit_leaves_rows_pictures_ledger_and_a_record_that_hashes_them(paths):
    (record,) = generate(paths)
    assert set(record.files) == {"generate/units/000000.tar", "generate/units/000000.parquet", "generate/ledger/000000.parquet"}
    assert [m.name for m in read_tar(paths.units("generate", 0, "tar"))] == [f"{key}.png" for key in KEYS]
    row = read_rows(paths.units("generate", 0, "parquet"))[1]
    assert row == {"key": KEYS[1], "status": "kept", "reason": None, "prompt": KEYS[1], "seed": 7}
    assert list(row)[:3] == ["key", "status", "reason"]


def test_every_sample_is_in_the_ledger_with_status_and_reason(paths):
    generate(paths)
    (record,) = filtered(paths)
    statuses = {row["key"]: (row["status"], row["reason"]) for row in read_rows(paths.ledger("filter", 0))}
    assert list(statuses) == KEYS
    assert statuses[KEYS[4]] == ("dropped", "blank_image")
    assert statuses[KEYS[6]] == ("failed", "unreadable_image")
    counts = record.counts
    assert (counts.seen, counts.kept, counts.dropped, counts.failed) == (10, 7, 2, 1)
    assert counts.reasons == {"blank_image": 2, "unreadable_image": 1}


def test_measures_of_dropped_samples_are_stored_and_only_kept_ones_go_on(paths):
    generate(paths)
    filtered(paths)
    assert read_rows(paths.units("filter", 0, "parquet"))[4]["measures"] == {"blur": 4 / 3}
    items = list(read_items(paths, "filter", "generate", 0, True))
    assert [item.key for item in items] == [k for i, k in enumerate(KEYS) if i not in (4, 6, 9)]
    assert all(item.image.startswith(b"\x89PNG") for item in items)
    assert items[0].row["prompt"] == KEYS[0]


def test_the_size_of_a_batch_changes_no_byte(tmp_path):
    snapshots = []
    for size in (1, 3, 100):
        stage = FakeStage("generate")
        stage.batch_size = size
        generate(RunPaths(tmp_path / str(size)), stage=stage)
        snapshots.append(snapshot(tmp_path / str(size)))
    assert snapshots[0] == snapshots[1] == snapshots[2]


def test_what_is_done_is_skipped_without_loading_weights(paths):
    generate(paths, (0, 1))
    stage = FakeStage("generate")
    assert generate(paths, (0, 1), stage=stage) == []
    assert stage.num_setups == 0
    assert [record.unit for record in generate(paths, (0, 1, 2), stage=stage)] == [2]
    assert (stage.num_setups, stage.num_teardowns) == (1, 1)


def test_a_record_of_another_config_is_refused_before_any_work_with_the_way_out(paths):
    generate(paths, (1,))
    before, stage = snapshot(paths.root), FakeStage("generate")
    with pytest.raises(ContractError, match=r"000001\.json was made with another config .*--redo generate"):
        generate(paths, (0, 1), config_digest="other", stage=stage)
    assert stage.num_setups == 0
    assert snapshot(paths.root) == before


def test_a_unit_whose_inputs_were_made_again_is_made_again(paths):
    generate(paths)
    (record,) = generate(paths, inputs=source(KEYS[:3], "new"))
    assert (record.input_digest, record.counts.seen) == ("new", 3)


def test_a_unit_whose_file_is_gone_is_made_again(paths):
    generate(paths)
    before = snapshot(paths.root)
    paths.units("generate", 0, "tar").unlink()
    assert len(generate(paths)) == 1
    assert snapshot(paths.root) == before


@pytest.mark.parametrize(("stage", "ext"), [("generate", "tar"), ("generate", "parquet")])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_damaged_input_is_refused_with_the_way_out_and_leaves_nothing(paths, stage, ext, damage):
    generate(paths)
    path = paths.units(stage, 0, ext)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if damage == "cut" else data[:700] + b"\0\1\2" + data[703:])
    with pytest.raises(ContractError, match=rf"000000\.{ext} .*delete .*generate/done/000000\.json and run again"):
        filtered(paths)
    assert not any(paths.stage("filter").rglob("*.*")) or not paths.done("filter", 0).exists()
    paths.done("generate", 0).unlink()  # the way out that was named
    generate(paths)
    assert filtered(paths)[0].counts.seen == 10


def test_an_input_that_is_not_done_is_named(paths):
    with pytest.raises(ContractError, match=r"unit 0 of 'generate' is not done; run that stage first"):
        filtered(paths)


def test_a_picture_that_the_rows_keep_must_be_in_the_tar(paths):
    generate(paths)
    record = json.loads(paths.done("generate", 0).read_text())
    other = RunPaths(paths.root.parent / "other")
    generate(other, inputs=source(KEYS[:5]))
    paths.units("generate", 0, "tar").write_bytes(other.units("generate", 0, "tar").read_bytes())
    name = "generate/units/000000.tar"
    record["files"][name] = json.loads(other.done("generate", 0).read_text())["files"][name]
    paths.done("generate", 0).write_text(json.dumps(record))
    with pytest.raises(ContractError, match=rf"holds no picture of {KEYS[5]}"):
        list(read_items(paths, "generate", "generate", 0, True))


@pytest.mark.parametrize("keys", [KEYS[::-1], [KEYS[0], KEYS[0]]])
def test_keys_must_ascend_and_be_unique(paths, keys):
    with pytest.raises(ContractError, match="keys must ascend and be unique"):
        generate(paths, inputs=source(keys))
    assert snapshot(paths.root) == {}


class Broken(FakeStage):
    def process(self, batch):
        raise RuntimeError("a bug")


def test_an_exception_drops_the_unit_and_releases_the_stage(paths):
    stage = Broken("generate")
    with pytest.raises(RuntimeError, match="a bug"):
        generate(paths, stage=stage)
    assert stage.num_teardowns == 1
    assert snapshot(paths.root) == {}


class Signalled(FakeStage):
    """Sends a signal to itself in the second batch of the second unit it sees."""

    def __init__(self, number):
        super().__init__("generate")
        self.number, self.batches = number, 0

    def process(self, batch):
        self.batches += 1
        if self.batches == 6:
            os.kill(os.getpid(), self.number)
        return super().process(batch)


@pytest.mark.parametrize(("number", "done"), [(signal.SIGTERM, [0]), (signal.SIGUSR1, [0, 1])])
def test_sigterm_drops_the_unit_in_hand_and_sigusr1_finishes_it(paths, number, done):
    before = signal.getsignal(number)
    with pytest.raises(Stopped, match=f"stopped by {number.name}"):
        generate(paths, (0, 1, 2), stage=Signalled(number))
    assert paths.done_units("generate") == done
    assert signal.getsignal(number) is before
    assert [r.unit for r in generate(paths, (0, 1, 2))] == [u for u in range(3) if u not in done]


def test_a_warning_in_the_last_unit_is_no_failure(paths):
    assert len(generate(paths, (0, 1), stage=Signalled(signal.SIGUSR1))) == 2


def test_temporaries_of_a_killed_process_are_swept_for_own_units_only(paths):
    folder = paths.stage("generate") / "units"
    folder.mkdir(parents=True)
    for unit in (0, 1):
        (folder / f".00000{unit}.tar.99.tmp").touch()
    generate(paths)
    assert sorted(p.name for p in folder.glob(".*")) == [".000001.tar.99.tmp"]


def test_a_unit_of_nothing_is_done_and_empty(paths):
    (record,) = generate(paths, inputs=source([]))
    assert record.counts.seen == 0
    assert list(chained_input(paths, "generate", "generate", True)(0).items) == []


def test_fail_details_are_logged(paths, caplog):
    generate(paths)
    filtered(paths)
    assert f"{KEYS[6]} failed: unreadable_image: made up" in caplog.text


def test_a_single_stage_runs_once_and_is_refused_under_another_config(paths):
    calls = []

    def make():
        calls.append(1)
        return make_prompts(paths, 5)

    record = run_single("prompts", paths, config_digest="c", input_digest="", make=make)
    assert run_single("prompts", paths, config_digest="c", input_digest="", make=make) == record
    assert len(calls) == 1
    with pytest.raises(ContractError, match="--redo prompts"):
        run_single("prompts", paths, config_digest="d", input_digest="", make=make)
    run_single("prompts", paths, config_digest="c", input_digest="new", make=make)
    assert len(calls) == 2


def test_a_record_that_is_broken_or_misplaced_is_named_with_the_way_out(paths):
    generate(paths)
    paths.done("generate", 1).write_bytes(paths.done("generate", 0).read_bytes())
    with pytest.raises(ContractError, match=r"000001\.json is the record of unit 0 .*delete it"):
        generate(paths, (1,))
    paths.done("generate", 1).write_text("{}")
    with pytest.raises(ContractError, match=r"000001\.json is not a done record .*delete"):
        generate(paths, (1,))


def test_a_stage_that_writes_pictures_must_give_one(paths):
    class Forgetful(FakeStage):
        def one(self, item):
            return Keep()

    with pytest.raises(AssertionError, match="without one"):
        generate(paths, stage=Forgetful("generate"))


def test_the_digest_of_inputs_ignores_time_and_code_version_but_not_content(paths):
    generate(paths)
    unit_input = chained_input(paths, "generate", "generate", False)
    before = unit_input(0).digest
    record = json.loads(paths.done("generate", 0).read_text())
    paths.done("generate", 0).write_text(json.dumps({**record, "seconds": 99.0, "code_version": "9"}))
    assert unit_input(0).digest == before
    write_rows(paths.units("generate", 0, "parquet"), [])
    paths.done("generate", 0).write_text(json.dumps({**record, "files": {**record["files"], "generate/units/000000.parquet": "0"}}))
    assert unit_input(0).digest != before
