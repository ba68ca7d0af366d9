import tarfile

import pytest

from pipeline.contracts.errors import ContractError
from pipeline.tars import image_extension, read_tar, write_tar

MEMBERS = [("a.png", b"x" * 700), ("b.png", b""), ("c.png", b"y" * 512)]


def test_members_come_back_in_order_with_the_offset_of_their_content(tmp_path):
    write_tar(tmp_path / "t.tar", MEMBERS)
    found = list(read_tar(tmp_path / "t.tar"))
    assert [(m.name, m.data) for m in found] == MEMBERS
    data = (tmp_path / "t.tar").read_bytes()
    assert all(data[m.offset : m.offset + len(m.data)] == m.data for m in found)


def test_nothing_of_user_or_clock_is_in_the_file(tmp_path):
    write_tar(tmp_path / "t.tar", MEMBERS)
    with tarfile.open(tmp_path / "t.tar") as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}


def test_members_out_of_order_are_a_bug_and_leave_nothing(tmp_path):
    with pytest.raises(AssertionError):
        write_tar(tmp_path / "t.tar", MEMBERS[::-1])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 100, 512 + 300, 512 + 1024, 512 + 1024 + 512])
def test_a_tar_cut_anywhere_is_a_contract_error(tmp_path, size):
    write_tar(tmp_path / "t.tar", MEMBERS)
    (tmp_path / "t.tar").write_bytes((tmp_path / "t.tar").read_bytes()[:size])
    with pytest.raises(ContractError, match=r"t\.tar is not a whole tar file"):
        list(read_tar(tmp_path / "t.tar"))


def test_something_else_than_a_tar_is_a_contract_error(tmp_path):
    (tmp_path / "t.tar").write_bytes(b"hello" * 1000)
    with pytest.raises(ContractError, match="not a whole tar file"):
        list(read_tar(tmp_path / "t.tar"))
    with pytest.raises(ContractError, match="does not exist"):
        list(read_tar(tmp_path / "absent.tar"))


def test_an_empty_tar_is_whole(tmp_path):
    write_tar(tmp_path / "t.tar", [])
    assert list(read_tar(tmp_path / "t.tar")) == []


def test_the_extension_comes_from_the_first_bytes():
    assert image_extension(b"\xff\xd8\xff\xe0") == "jpg"
    assert image_extension(b"\x89PNG\r\n\x1a\n...") == "png"
    with pytest.raises(ContractError, match="accepted: JPEG, PNG"):
        image_extension(b"GIF89a")
