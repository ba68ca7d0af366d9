"""Files appear whole or not at all, also when the disk is full."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.contracts.errors import ContractError, StageError
from pipeline.fileio import atomic_open, check_writable, digest, read_json, remove_temporaries, write_bytes, write_json


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*") if p.is_file())


def test_a_block_that_raises_leaves_the_old_file_and_no_temporary(tmp_path):
    write_bytes(tmp_path / "a", b"old")

    def fail_in_the_middle():
        with atomic_open(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        fail_in_the_middle()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_an_os_error_of_other_work_in_the_block_is_not_blamed_on_the_file(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_open(tmp_path / "a"):
        (tmp_path / "other").read_bytes()


@pytest.mark.parametrize("call", ["fsync", "mkdir"])
def test_a_full_disk_is_a_stage_error_that_names_the_file(tmp_path, monkeypatch, call):
    def full(*_args, **_kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(*((os, "fsync") if call == "fsync" else (Path, "mkdir")), full)
    with pytest.raises(StageError, match=r"cannot write .*a\.bin: No space left on device; free some space"):
        write_bytes(tmp_path / "a.bin", b"x")
    assert names(tmp_path) == []


def test_what_can_be_made_again_does_not_wait_for_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("it waited"))
    write_bytes(tmp_path / "a.bin", b"x", lasting=False)
    assert (tmp_path / "a.bin").read_bytes() == b"x"
    assert names(tmp_path) == ["a.bin"]


def test_a_file_size_limit_that_strikes_in_the_middle_of_writing_leaves_nothing(tmp_path):
    code = f"""
from pathlib import Path
from pipeline.contracts.errors import StageError
from pipeline.tables import write_rows
from pipeline.tars import write_tar
folder = Path({str(tmp_path)!r})
for write in (lambda: write_tar(folder / "a.tar", [("k.png", bytes(100_000))]), lambda: write_rows(folder / "b.parquet", [{{"a": 1}}])):
    try:
        write()
    except StageError as err:
        print(err)
"""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100)),
    )
    assert [line.split(":")[0] for line in done.stdout.splitlines()] == [f"cannot write {tmp_path}/{n}" for n in ("a.tar", "b.parquet")]
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_removed_by_name(tmp_path):
    for name in (".000001.tar.77.tmp", ".000002.tar.77.tmp", "000001.tar"):
        (tmp_path / name).touch()
    remove_temporaries(tmp_path, {"000001.tar"})
    assert names(tmp_path) == [".000002.tar.77.tmp", "000001.tar"]
    remove_temporaries(tmp_path)
    assert names(tmp_path) == ["000001.tar"]
    remove_temporaries(tmp_path / "absent")


def test_read_json_names_the_file(tmp_path):
    with pytest.raises(ContractError, match="absent"):
        read_json(tmp_path / "absent")
    (tmp_path / "bad").write_text("{")
    with pytest.raises(ContractError, match="bad is not JSON"):
        read_json(tmp_path / "bad")
    write_json(tmp_path / "good", {"ä": [1]})
    assert read_json(tmp_path / "good") == {"ä": [1]}


def test_digest_ignores_the_order_of_keys_only():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest([1, 2]) != digest([2, 1])


def test_whether_a_file_can_be_written_is_known_before(tmp_path):
    there = tmp_path / "there.json"
    there.write_text("old")
    check_writable(there)
    check_writable(tmp_path / "new.json")
    assert there.read_text() == "old"
    assert list(tmp_path.iterdir()) == [there]
    for path in (tmp_path, there / "below.json"):
        with pytest.raises(StageError, match="cannot write"):
            check_writable(path)


def test_a_folder_and_a_device_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, kind in (("pipe", "device"), ("folder", "folder")):
        with pytest.raises(StageError, match=f"cannot write .*{name}: it is a {kind}"):
            write_bytes(tmp_path / name, b"data")
    assert (tmp_path / "pipe").is_fifo()
    assert names(tmp_path) == []
