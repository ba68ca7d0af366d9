import pytest

from pipeline import record_cache
from pipeline.completion import State
from pipeline.contracts.errors import ContractError
from pipeline.record_cache import RecordCache
from pipeline.survey import survey
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


@pytest.mark.parametrize("text", ["", "[[1,2]]", '[[1,2,3,"",{}]]', "{}", "not json"])
def test_a_broken_cache_is_no_cache(run, text):
    expected = states(run)
    for name in NAMES:
        run.paths.records(name).write_text(text)
    assert states(run) == expected


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
