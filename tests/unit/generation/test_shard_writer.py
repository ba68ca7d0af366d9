"""Results that appear in a folder together or not at all, whoever is killed or fails in the middle."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

from generation.exchange.shards import require_new_folder
from generation.shard_writer import leftovers, replaced_together
from pipeline.contracts.errors import ContractError, StageError
from pipeline.fileio import write_bytes


def test_the_last_file_goes_first_and_comes_last(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("old")
    (tmp_path / "train-000007.tar").write_text("old")
    with replaced_together(tmp_path, last="manifest.json") as building:
        (building / "manifest.json").write_text(json.dumps({}))
        (building / "train-000000.tar").write_text("new")
    assert {p.name for p in tmp_path.iterdir()} == {"manifest.json", "train-000000.tar"}


def test_what_a_killed_process_has_left_goes(tmp_path: Path) -> None:
    for name in (".building", ".building-x7f"):
        write_bytes(tmp_path / name / "files" / "spool", b"left")
    with replaced_together(tmp_path, last="manifest.json") as building:
        (building / "manifest.json").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]


def test_a_kill_between_the_moves_leaves_only_what_the_next_writer_removes(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from generation.shard_writer import replaced_together
move = Path.replace
Path.replace = lambda path, target: os._exit(9) if path.name == "README.md" else move(path, target)
with replaced_together(Path(sys.argv[1]), last="README.md") as building:
    for name in ("data/train-000000.tar", "about.txt", "README.md"):
        (building / name).parent.mkdir(exist_ok=True)
        (building / name).touch()
"""
    assert subprocess.run([sys.executable, "-c", script, tmp_path]).returncode == 9
    assert {path.name for path in tmp_path.iterdir()} >= {"data", "about.txt"}
    require_new_folder(tmp_path)
    with replaced_together(tmp_path, last="README.md") as building:
        for name in ("data/train-000001.tar", "README.md"):
            write_bytes(building / name, b"")
    assert {path.name for path in tmp_path.rglob("*")} == {"data", "train-000001.tar", "README.md"}
    with pytest.raises(ContractError, match="is not empty"):
        require_new_folder(tmp_path)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, os.strerror(28))])
def test_a_failure_between_the_moves_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    move = Path.replace

    def fails_at_the_last(path: Path, target: Path) -> Path:
        if path.name == "README.md":
            raise error
        return move(path, target)

    def write() -> None:
        with replaced_together(tmp_path, last="README.md") as building:
            for name in ("data/train-000000.tar", "about.txt", "README.md"):
                write_bytes(building / name, b"")

    monkeypatch.setattr(Path, "replace", fails_at_the_last)
    with pytest.raises((KeyboardInterrupt, StageError)):
        write()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_arrived_meanwhile_stays_when_it_is_in_the_way(tmp_path: Path) -> None:
    def write() -> None:
        with replaced_together(tmp_path, last="README.md") as building:
            for own in ("about.txt", "data/train-000000.tar", "README.md"):
                write_bytes(building / own, b"")
            write_bytes(tmp_path / "data" / "mine", b"")

    with pytest.raises(StageError, match="cannot write"):
        write()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"data", "data/mine"}


def test_a_writer_that_is_overtaken_moves_nothing_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    move, unlink = Path.replace, Path.unlink
    last: list[tuple[Path, Path]] = []

    def overtaken(path: Path, target: Path) -> Path:
        if path.name == "manifest.json":
            last.append((path, target))
            monkeypatch.setattr(Path, "unlink", while_another_begins)
            with suppress(KeyboardInterrupt), replaced_together(tmp_path, last="manifest.json"):
                raise KeyboardInterrupt
        return move(path, target)

    def while_another_begins(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        with suppress(FileNotFoundError, IndexError):
            move(*last.pop())

    def write() -> None:
        with replaced_together(tmp_path, last="manifest.json") as building:
            for name in ("train-000000.tar", "manifest.json"):
                write_bytes(building / name, b"")

    monkeypatch.setattr(Path, "replace", overtaken)
    with pytest.raises(StageError, match="is being written by another process"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_writer_that_ends_while_its_claim_is_looked_at_has_left_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / ".building-x7f" / "claim", b"README.md")
    read = Path.read_text

    def ends_meanwhile(path: Path, encoding: str | None = None) -> str:
        shutil.rmtree(path.parent)
        return read(path, encoding)

    monkeypatch.setattr(Path, "read_text", ends_meanwhile)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("touches_nothing_more", [True, False])
def test_of_two_processes_the_one_that_began_later_writes_the_result(tmp_path: Path, touches_nothing_more: bool) -> None:
    """As when Slurm takes a node for lost, and its task runs on beside the new one."""

    def lost_and_new() -> None:
        with replaced_together(tmp_path, last="manifest.json") as lost:
            write_bytes(lost / "train-000000.tar", b"lost")
            with replaced_together(tmp_path, last="manifest.json") as new:
                write_bytes(new / "train-000000.tar", b"new")
                write_bytes(lost / "train-000001.tar", b"lost")
                write_bytes(new / "manifest.json", b"new")
            if not touches_nothing_more:
                (lost / "train-000000.tar").stat()

    with pytest.raises(StageError, match="is being written by another process, which began later"):
        lost_and_new()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(("train-000000.tar", "manifest.json"), b"new")
    assert not leftovers(tmp_path)


def test_a_folder_that_cannot_be_made_is_not_said_to_be_another_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(StageError, match=r"cannot write out: No such file or directory; .* choose another folder"):
        replaced_together(Path("out"), last="manifest.json").__enter__()


def test_a_process_that_begins_while_another_clears_up_is_not_overlooked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bytes(tmp_path / ".building-killed" / "files" / "train-000000.tar", b"killed")
    remove = shutil.rmtree

    def write(data: bytes) -> None:
        with replaced_together(tmp_path, last="manifest.json") as building:
            for name in ("train-000000.tar", "manifest.json"):
                write_bytes(building / name, data)

    def while_another_begins(path: Path, ignore_errors: bool) -> None:
        monkeypatch.setattr(shutil, "rmtree", remove)
        write(b"new")
        remove(path, ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", while_another_begins)
    with pytest.raises(StageError, match="is being written by another process, which began later"):
        write(b"lost")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == dict.fromkeys(("train-000000.tar", "manifest.json"), b"new")


def test_a_writer_of_a_relative_folder_does_not_take_over_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 makes temporary folders of absolute paths, 3.11 does not."""
    make = tempfile.mkdtemp
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "mkdtemp", lambda prefix, dir: str(Path(make(prefix=prefix, dir=dir)).absolute()))
    with replaced_together(Path("shards"), last="manifest.json") as building:
        write_bytes(building / "manifest.json", b"")
    assert [path.name for path in Path("shards").iterdir()] == ["manifest.json"]
