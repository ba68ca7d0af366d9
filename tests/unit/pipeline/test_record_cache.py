import json
import shutil

import pytest

from pipeline import graph, record_cache
from pipeline.completion import State, input_digest, read_record, record_text
from pipeline.contracts.errors import ContractError
from pipeline.record_cache import RecordCache
from pipeline.survey import survey, to_json
from tests.unit.pipeline.fake_slurm import FakeSlurm
from tests.unit.pipeline.slurm_run import NAMES, SlurmRun


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(record_cache, "MIN_NEW", 1)
    run = SlurmRun(tmp_path, FakeSlurm(), num_units=3)
    run.make()
    return run


def states(run):
    return {stage.spec.name: list(stage.states.values()) for stage in survey(run.plan)}


def test_the_second_look_opens_no_record_and_finds_the_same(run, monkeypatch):
    first = states(run)
    assert {state for row in first.values() for state in row} == {State.DONE}
    monkeypatch.setattr(RecordCache, "_read", lambda *_: pytest.fail("a record was opened"))
    assert states(run) == first


def test_what_changed_since_is_seen(run):
    states(run)
    done = run.paths.done("caption", 1)
    run.lose("caption", 1)
    assert states(run)["caption"] == [State.DONE, State.MISSING, State.DONE]
    run.make("caption")
    assert states(run)["caption"] == [State.DONE] * 3
    text = done.read_text()
    done.with_suffix(".tmp").write_text(text.replace('"input_digest": "', '"input_digest": "0'))
    done.with_suffix(".tmp").replace(done)
    assert states(run)["caption"] == [State.DONE, State.STALE, State.DONE]
    run.paths.units("recrop", 2, "tar").unlink()
    assert states(run)["recrop"] == [State.DONE, State.DONE, State.MISSING]


def rows(run):
    return [to_json(stage) for stage in survey(run.plan)]


def opened(monkeypatch):
    """A list that gets (stage, unit) of each record that is read from now on."""
    seen, read = [], RecordCache._read
    monkeypatch.setattr(RecordCache, "_read", lambda cache, *where: seen.append(where[-2:]) or read(cache, *where))
    return seen


def test_what_is_kept_of_a_record_is_what_its_file_says(run):
    for _ in range(2):  # read, then from the cache
        cache = RecordCache(run.paths)
        cache.refresh(NAMES)
        for spec in graph.STAGES:
            for unit, known in cache.records(spec.name).items():
                record, path = read_record(run.paths, spec.name, unit), run.paths.done(spec.name, unit)
                assert (known.stage, known.unit, known.config_digest) == (spec.name, unit, record.config_digest)
                assert (known.input_digest, known.seconds, known.text) == (record.input_digest, record.seconds, record_text(record))
                assert {name: getattr(known, name) for name in vars(record.counts)} == vars(record.counts)
                assert known.files == list(record.files)
                assert known.finished == pytest.approx(path.stat().st_mtime)
                assert cache.input_digest(graph.sources(spec, unit, 3)) == input_digest(run.paths, graph.sources(spec, unit, 3))
    assert rows(run)[2]["reasons"]


@pytest.mark.parametrize("content", [b"", b"\n", b"[[1,2]]", b"{}", b"not json", b"\xff\xfe", b"4 00000000\n[]", b"4 fed5d3b3\n{}"])
def test_a_broken_cache_is_no_cache(run, content):
    expected = rows(run)
    for name in NAMES:
        run.paths.records(name).write_bytes(content)
    assert rows(run) == expected


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-1],
        lambda content: content[: len(content) // 2],
        lambda content: content[:200] + bytes(50) + content[250:],
        lambda content: content.replace(b'"kept"', b'"KEPT"').replace(b"caption/ledger", b"CAPTION/ledger"),
        lambda content: content.replace(b"4 ", b"3 ", 1),
        lambda content: record_cache._head(b'[[1,"2"]]') + b'\n[[1,"2"]]',
        lambda content: record_cache._head(b'[[1,"2"]]\nx') + b'\n[[1,"2"]]\nx',
    ],
)
def test_a_damaged_cache_is_no_cache(run, damage, monkeypatch):
    expected, file = rows(run), run.paths.records("caption")
    changed = damage(file.read_bytes())
    assert changed != file.read_bytes()
    file.write_bytes(changed)
    seen = opened(monkeypatch)
    assert rows(run) == expected
    assert sorted(seen) == [("caption", unit) for unit in range(3)]
    assert rows(run) == expected
    assert len(seen) == 3, "and it is whole again"


def test_the_cache_of_another_stage_or_run_says_nothing(run, tmp_path, monkeypatch):
    expected = rows(run)
    run.paths.records("caption").write_bytes(run.paths.records("annotate").read_bytes())
    assert rows(run) == expected
    shutil.move(run.paths.root, tmp_path / "old")  # not removed: a file system may give its numbers of files again
    shutil.copytree(tmp_path / "old", run.paths.root)
    seen = opened(monkeypatch)
    assert rows(run) == expected
    assert len(seen) == sum(row["done"] for row in expected), "other files, though copies: read anew"


def test_other_names_beside_the_records_are_nobodys(run, monkeypatch):
    expected, done = rows(run), run.paths.done("caption", 0)
    for name in ("1.json", "0000001.json", "-00001.json", "٠٠٠٠٠١.json", "²²²²²².json", "a.json", ".000001.json.h-1.tmp", "000001.txt"):
        done.with_name(name).write_text("{")
    assert rows(run) == expected


def test_a_record_that_goes_while_one_looks_is_missing_and_nothing_else(run, monkeypatch):
    listed = record_cache._listed
    monkeypatch.setattr(record_cache, "_listed", lambda folder: [("000007.json", 7), *listed(folder)])
    assert {state for row in states(run).values() for state in row} == {State.DONE}
    run.lose("caption", 1)
    monkeypatch.setattr(record_cache, "_listed", lambda folder: [("000001.json", 1), *listed(folder)])
    assert states(run)["caption"] == [State.DONE, State.MISSING, State.DONE]


HUGE = '"seconds": 1e400, "seconds": '  # the last one counts; orjson refuses what json takes for infinite


@pytest.mark.parametrize("change", [lambda text: f"\n {text}", lambda text: text.replace('"seconds": ', HUGE), str])
def test_a_record_is_read_as_without_a_cache_however_it_is_written(run, change):
    expected, done = rows(run), run.paths.done("caption", 1)
    text = change(done.read_text())
    done.with_suffix(".new").write_text(text)
    done.with_suffix(".new").replace(done)
    assert read_record(run.paths, "caption", 1) is not None
    for _ in range(2):
        assert rows(run) == expected


def test_numbers_that_only_python_knows_are_no_reason_to_stop(run):
    done = run.paths.done("caption", 1)
    data = json.loads(done.read_text())
    done.write_text(json.dumps(data | {"seconds": 10**30, "code_version": "\ud800"}))
    for _ in range(2):
        assert rows(run)[4]["seconds"] >= 10**30
        assert states(run)["caption"] == [State.DONE] * 3


@pytest.mark.parametrize("lack", [{"counts": None}, {"counts": {"seen": 1}}, {"more": 1}, {"unit": None}, {"files": None}])
def test_what_is_no_record_is_refused_as_without_a_cache(run, lack):
    rows(run)
    done = run.paths.done("caption", 1)
    data = json.loads(done.read_text()) | lack
    done.write_text(json.dumps({name: value for name, value in data.items() if value is not None}))
    with pytest.raises(ContractError) as known:
        read_record(run.paths, "caption", 1)
    with pytest.raises(ContractError) as info:
        rows(run)
    assert str(info.value) == str(known.value)


def test_a_record_of_another_unit_is_refused_as_without_a_cache(run):
    states(run)
    run.paths.done("caption", 2).write_bytes(run.paths.done("caption", 1).read_bytes())
    with pytest.raises(ContractError, match="is the record of unit 1 of 'caption'"):
        states(run)


def test_small_runs_write_no_cache(tmp_path):
    run = SlurmRun(tmp_path, FakeSlurm(), num_units=1)
    run.make()
    states(run)
    assert not run.paths.records("caption").parent.exists()
