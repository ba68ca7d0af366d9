"""What lint says of a run: records, ledgers, files of the stages. Its shards are in test_lint_shards.py."""

import json

import pytest

from pipeline.contracts.errors import ContractError
from pipeline.lint import lint
from pipeline.paths import RunPaths
from pipeline.tables import read_rows, write_rows
from tests.unit.pipeline.planting import rewrite_record, texts


@pytest.fixture
def paths(finished_copy):
    return RunPaths(finished_copy / "run")


def test_a_finished_run_is_sound(paths):
    assert texts(paths) == []


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ContractError, match="holds no done record"):
        lint(RunPaths(tmp_path))


def test_a_flipped_bit_and_a_missing_file_are_found(paths):
    tar = paths.units("recrop", 1, "tar")
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    paths.units("caption", 2, "parquet").unlink()
    assert texts(paths) == [
        "recrop/units/000001.tar: its sha256 is not the one in the done record",
        "caption/units/000002.parquet: is in a done record, but does not exist",
    ]


def test_a_ledger_that_does_not_agree_with_its_record_is_found(paths):
    ledger = paths.ledger("filter", 0)
    rows = read_rows(ledger)
    write_rows(ledger, [{**rows[0], "status": "dropped", "reason": "blur"}, *rows[1:]])
    rewrite_record(paths, "filter", 0)
    found = texts(paths)
    assert any("but the done record counts" in text for text in found)
    assert any("its reasons are not those" in text for text in found)
    assert any(text.startswith("recrop/ledger/000000.parquet: does not see exactly the keys") for text in found)


def test_keys_out_of_order_are_found(paths):
    ledger = paths.ledger("annotate", 3)
    write_rows(ledger, read_rows(ledger)[::-1])
    rewrite_record(paths, "annotate", 3)
    assert any("keys are not sorted and unique" in text for text in texts(paths))


def test_a_corrupt_ledger_is_a_finding_and_the_rest_is_checked_all_the_same(paths):
    paths.ledger("filter", 1).write_bytes(b"junk")
    paths.units("caption", 2, "parquet").unlink()
    found = texts(paths)
    assert any("not a readable Parquet file" in text for text in found)
    assert any("does not exist" in text for text in found)


def test_a_damaged_done_record_is_a_finding(paths):
    path = paths.done("caption", 1)
    for change in ({"files": None}, {"counts": {"seen": "1", "kept": "1", "dropped": "", "failed": ""}}, {"seconds": "long"}):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, **change}))
        (found,) = [text for text in texts(paths) if text.startswith("caption/done/000001.json: ")]
        assert "is not a done record" in found
        path.write_text(json.dumps(record))


def test_a_unit_whose_source_is_not_done_is_found(paths):
    paths.done("filter", 0).unlink()
    assert "recrop/done/000000.json: is there, but unit 0 of 'filter' before it is not done" in texts(paths)


def test_missing_and_extra_keys_between_stages_are_named(paths):
    ledger = paths.ledger("recrop", 0)
    rows = read_rows(ledger)
    write_rows(ledger, rows[1:])
    rewrite_record(paths, "recrop", 0)
    assert any(f"keeps (1 missing: {rows[0]['key']})" in text for text in texts(paths))
