"""Reading samples through the index, and what a damaged shard says."""

import pickle
from pathlib import Path

import pytest

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.fileio import write_bytes
from pretrain.pictures import decode_resized
from pretrain.shards import ShardReader
from tests.unit.pretrain.samples import make_shards


def test_samples_come_by_number_in_the_order_of_the_index(shards: Path) -> None:
    reader = ShardReader(shards, "train")
    keys = [reader.key(number) for number in range(len(reader))]
    assert keys == sorted(keys)
    assert [reader.read(number).meta.key for number in (5, 0, 11)] == [keys[5], keys[0], keys[11]]
    assert reader.attribute_space == PERSON_27


def test_a_changed_byte_names_shard_and_key(tmp_path: Path) -> None:
    folder = make_shards(tmp_path)
    data = bytearray((folder / "train-000000.tar").read_bytes())
    data[600] ^= 1  # inside the first picture, whose content starts after one header block of 512 bytes
    write_bytes(folder / "train-000000.tar", bytes(data))
    with pytest.raises(ContractError, match=r"train-000000\.tar, sample 000000000_00: bytes differ"):
        ShardReader(folder, "train").read(0)


def test_a_truncated_shard_is_an_error_of_the_sample_that_is_cut(tmp_path: Path) -> None:
    folder = make_shards(tmp_path)
    data = (folder / "train-000000.tar").read_bytes()
    write_bytes(folder / "train-000000.tar", data[: len(data) // 2])
    reader = ShardReader(folder, "train")
    assert reader.read(0).image
    with pytest.raises(ContractError, match="bytes differ from the index"):
        reader.read(len(reader) - 1)


def test_a_split_without_samples_names_the_splits_that_have_some(shards: Path) -> None:
    with pytest.raises(ContractError, match="'train': 12"):
        ShardReader(shards, "test")


def test_a_reader_that_goes_to_another_process_opens_its_own_files(shards: Path) -> None:
    reader = ShardReader(shards, "train")
    first = reader.read(0)
    assert pickle.loads(pickle.dumps(reader)).read(0) == first  # noqa: S301 - our own bytes


def test_bytes_that_are_no_picture_are_refused_by_name() -> None:
    with pytest.raises(ContractError, match="sample 7: not a readable picture"):
        decode_resized(b"\xff\xd8\xff and nothing more", 64, 32, "sample 7")
