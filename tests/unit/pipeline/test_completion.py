import pytest

from pipeline import graph
from pipeline.completion import partition, record_text, records_digest, units_of_task
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.contracts.manifest import Counts, DoneRecord
from pipeline.fileio import canonical, digest


def test_neighbouring_units_go_to_different_tasks():
    assert [list(r) for r in partition(7, 3)] == [[0, 3, 6], [1, 4], [2, 5]]
    assert list(units_of_task(7, 1, 3)) == [1, 4]


@pytest.mark.parametrize(("task", "num_tasks"), [(3, 3), (-1, 3), (0, 0)])
def test_a_task_that_does_not_exist_is_refused(task, num_tasks):
    with pytest.raises(ConfigError, match="accepted"):
        units_of_task(7, task, num_tasks)


def test_impossible_partitions_are_refused():
    with pytest.raises(ConfigError, match="tasks >= 1"):
        partition(3, 0)


def test_a_ledger_that_does_not_balance_cannot_be_counted():
    with pytest.raises(ContractError, match="does not balance"):
        Counts(seen=3, kept=1, dropped=1, failed=0, reasons={"x": 1})
    with pytest.raises(ContractError, match="do not add up"):
        Counts(seen=2, kept=1, dropped=1, failed=0)


def test_stages_read_only_earlier_stages_and_pictures_only_where_they_are_written():
    for position, spec in enumerate(graph.STAGES):
        assert {s.name for s in graph.STAGES[:position]} >= set(spec.inputs)
        assert spec.images_from is None or graph.find(spec.images_from).writes_images


def test_sources_name_units_in_a_fixed_order():
    assert graph.sources(graph.find("prompts"), 0, 3) == []
    assert graph.sources(graph.find("generate"), 2, 3) == [("prompts", 0)]
    assert graph.sources(graph.find("recrop"), 2, 3) == [("filter", 2), ("generate", 2)]
    assert graph.sources(graph.find("caption"), 2, 3) == [("recrop", 2)]
    assert graph.sources(graph.find("shard"), 0, 2) == [("annotate", 0), ("recrop", 0), ("annotate", 1), ("recrop", 1)]


def test_an_unknown_stage_is_refused_with_the_accepted_ones():
    with pytest.raises(ConfigError, match="'captions' does not exist; accepted: prompts, generate, filter"):
        graph.find("captions")
    assert [s.name for s in graph.from_stage("caption")] == ["caption", "annotate", "shard"]


def test_what_a_record_vouches_for_is_canonical_json():
    files = {"b/ü.tar": "1", 'a/"x".parquet': "2"}
    record = DoneRecord(
        stage='fil"ter',
        unit=7,
        config_digest="c",
        input_digest="i",
        counts=Counts(seen=0, kept=0, dropped=0, failed=0),
        seconds=1,
        files=files,
        code_version="v",
    )
    assert record_text(record) == canonical([record.stage, record.unit, record.config_digest, files])
    assert records_digest([record, record]) == digest([[record.stage, record.unit, record.config_digest, files]] * 2)
