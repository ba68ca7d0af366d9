import json

import pytest

from pipeline.contracts.errors import ContractError
from pipeline.fileio import sha256_file
from pipeline.lint import lint
from pipeline.paths import RunPaths
from pipeline.tables import read_rows, write_rows
from pipeline.tars import read_tar, write_tar


@pytest.fixture
def paths(finished_copy):
    return RunPaths(finished_copy / "run")


def texts(paths):
    return [f"{finding.file}: {finding.text}" for finding in lint(paths)]


def rewrite_record(paths, stage, unit, **changes):
    """Make the record agree with what a test has written, so that deeper checks are reached."""
    path = paths.done(stage, unit)
    record = json.loads(path.read_text())
    record["files"] = {name: sha256_file(paths.root / name) for name in record["files"]}
    path.write_text(json.dumps({**record, **changes}))


def rewrite_index(paths, change):
    path = paths.stage("shard") / "index.parquet"
    write_rows(path, change(read_rows(path)))
    rewrite_record(paths, "shard", 0)


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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [{**rows[0], "image_offset": 5}, *rows[1:]], "offsets or lengths in the index"),
        (lambda rows: [{**rows[0], "sha256": "0"}, *rows[1:]], "sha256 in the index is not that of the contents"),
        (lambda rows: rows[1:], "but the index holds"),
        (lambda rows: [*rows, rows[0]], "keys stand twice"),
        (lambda rows: [{**rows[0], "shard": "train-000009.tar"}, *rows[1:]], "do not name the same shards: train-000009.tar"),
    ],
)
def test_an_index_that_does_not_describe_the_tars_is_found(paths, change, message):
    rewrite_index(paths, change)
    assert any(message in text for text in texts(paths))


def test_a_sample_whose_labels_differ_from_its_attributes_is_found(paths):
    path = paths.stage("shard") / "val-000000.tar"
    members = [(m.name, m.data.replace(b'"hat":-1', b'"hat":1')) for m in read_tar(path)]
    write_tar(path, members)
    assert any("labels and named attributes differ" in text for text in texts(paths))


def test_a_truncated_shard_is_found(paths):
    path = paths.stage("shard") / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    assert any("is not a whole tar file" in text for text in texts(paths))


def test_a_shard_that_the_manifest_does_not_know_is_found(paths):
    write_tar(paths.stage("shard") / "train-000007.tar", [])
    assert any("do not name the same shards: train-000007.tar" in text for text in texts(paths))
