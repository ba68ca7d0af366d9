"""Reading samples through the index, and what a damaged shard says."""

import io
import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.fileio import write_bytes
from pretrain.pictures import as_rgb, decode_resized, reason
from pretrain.shard_index import ShardIndex
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


def test_an_index_of_many_parts_gives_each_entry_and_needs_little_memory_while_it_is_read() -> None:
    """1.5 million rows as Python values were 1.5 GB, in every rank at once."""
    count = 80_000  # five parts of the table, whose lists are most of the memory
    numbers = np.arange(count)
    columns = {
        "key": [f"{number:09d}_00" for number in range(count)],
        "split": ["val" if number % 10 == 3 else "train" for number in range(count)],
        "shard": [f"train-{number // 1000:06d}.tar" for number in range(count)],
        "image_offset": numbers * 2000,
        "image_bytes": np.full(count, 700),
        "meta_offset": numbers * 2000 + 1024,
        "meta_bytes": np.full(count, 900),
        "sha256": [f"{number:064x}" for number in range(count)],
    }
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), sink, compression="zstd")
    del columns
    tracemalloc.start()
    index = ShardIndex(sink.getvalue().to_pybytes(), "train", "index.parquet")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(index) == count * 9 // 10
    assert peak / count < 400  # 80 bytes stay; all rows as Python values are 900
    for place, number in ((0, 0), (3, 4), (45_000, 50_000), (len(index) - 1, count - 1)):
        entry = index.entry(place)
        assert entry.key == f"{number:09d}_00"
        assert entry.image == (f"train-{number // 1000:06d}.tar", number * 2000, number * 2000 + 700)
        assert entry.meta == (entry.image.name, number * 2000 + 1024, number * 2000 + 1924)
        assert entry.sha256 == number.to_bytes(32)


@pytest.mark.parametrize("data", [b"", b"\xff\xd8\xff and nothing more"])
def test_bytes_that_are_no_picture_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ContractError, match=r"^sample 7: not a readable picture \([^<>]+\); run"):
        decode_resized(data, 64, 32, "sample 7")


def test_a_picture_that_ends_without_a_word_from_pillow_has_a_reason_too() -> None:
    assert reason(EOFError()) == "EOFError"


def png(image: Image.Image) -> bytes:
    sink = io.BytesIO()
    image.save(sink, "PNG")
    return sink.getvalue()


def test_grey_of_16_bits_is_scaled_and_what_is_transparent_is_white() -> None:
    ramp = np.linspace(0, 65535, 64).astype(np.uint16)[None].repeat(8, 0)
    assert np.abs(decode_resized(png(Image.fromarray(ramp)), 8, 64, "x")[0, :, 0] - np.linspace(0, 255, 64)).max() <= 1
    red = np.full((4, 4, 4), (255, 0, 0, 0), np.uint8)
    red[2:, :, 3] = 255
    for image in (Image.fromarray(red), Image.fromarray(red).quantize(4)):  # transparency beside the colours, and in a palette
        shown = decode_resized(png(image), 4, 4, "x")
        assert (shown[:2] == 255).all()
        assert (shown[2:] == (255, 0, 0)).all()


def test_integers_of_32_bits_are_scaled_only_where_8_do_not_hold_them() -> None:
    for top, expected in ((255, 1), (65535, 257)):
        image = Image.fromarray(np.linspace(0, top, 64).astype(np.int32)[None].repeat(8, 0))
        assert image.mode == "I"
        assert np.array_equal(np.asarray(as_rgb(image))[0, :, 1], np.asarray(image)[0] // expected)
        sink = io.BytesIO()
        image.save(sink, "PPM")  # this format has 16 bits
        assert np.array_equal(decode_resized(sink.getvalue(), 8, 64, "x")[0, :, 1], np.asarray(image)[0] // 257)


def test_a_16_bit_grey_that_stands_for_transparent_is_white(tmp_path) -> None:
    image = Image.fromarray(np.array([[1000, 1001, 60000]], np.uint16))
    image.save(tmp_path / "grey.png", transparency=1000)
    assert decode_resized((tmp_path / "grey.png").read_bytes(), 1, 3, "x")[0, :, 0].tolist() == [255, 3, 233]


@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_a_text_that_is_named_transparency_is_no_colour(mode) -> None:
    image, sink, text = Image.new("RGB", (4, 4), "red").convert(mode), io.BytesIO(), PngInfo()
    text.add_text("transparency", "yes")
    image.save(sink, "PNG", pnginfo=text)
    assert np.array_equal(decode_resized(sink.getvalue(), 4, 4, "x"), np.asarray(image.convert("RGB")))


def test_a_picture_without_its_palette_is_refused_by_name() -> None:
    data = png(Image.new("P", (4, 4)))
    start = data.index(b"PLTE") - 4
    length = int.from_bytes(data[start : start + 4], "big") + 12
    with pytest.raises(ContractError, match="k1: not a readable picture"):
        decode_resized(data[:start] + data[start + length :], 4, 4, "k1")
