"""Pictures of cameras: shown and indexed the way up that their EXIF says, whatever else the EXIF holds."""

import io
import struct
from base64 import b64decode
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from finetune.search.page import thumbnail
from finetune.search.pictures import read_upright

SHORT, SLONG, SRATIONAL, ASCII = 3, 9, 10, 2


def shown(path: Path) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(thumbnail(path).partition(",")[2])))


def jpeg_with_exif(exif: bytes) -> bytes:
    """20 pixels wide, 40 high."""
    sink = io.BytesIO()
    Image.new("RGB", (20, 40), "red").save(sink, "JPEG")
    start, rest = sink.getvalue()[:2], sink.getvalue()[2:]
    return start + b"\xff\xe1" + struct.pack(">H", len(exif) + 8) + b"Exif\0\0" + exif + rest


def entry(tag: int, kind: int, count: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag, kind, count) + value


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_indexed_and_shown_the_way_up_that_its_camera_held_it(orientation, people, tmp_path):
    with Image.open(people / "val_0.jpg") as image:
        exif = image.getexif()
        exif[ExifTags.Base.Orientation] = orientation
        image.save(tmp_path / "turned.png", exif=exif)
        upright = ImageOps.exif_transpose(Image.open(tmp_path / "turned.png"))
    with Image.open(io.BytesIO(read_upright(tmp_path / "turned.png"))) as read:
        assert np.array_equal(np.asarray(read), np.asarray(upright))
    small = shown(tmp_path / "turned.png")
    assert small.size == upright.size
    assert np.abs(np.asarray(small).astype(int) - np.asarray(upright)).mean() < 30
    assert ExifTags.Base.Orientation not in small.getexif()  # a browser would turn it again


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param(entry(ExifTags.Base.ImageWidth, ASCII, 4, b"abc\0"), id="width in letters"),
        pytest.param(entry(ExifTags.Base.XResolution, SRATIONAL, 1, struct.pack("<L", 38)), id="negative resolution"),
        pytest.param(entry(ExifTags.Base.ResolutionUnit, SLONG, 1, struct.pack("<l", -5)), id="negative unit"),
    ],
)
def test_tags_that_cannot_be_written_again_do_not_hinder_turning(odd, tmp_path):
    turned = entry(ExifTags.Base.Orientation, SHORT, 1, struct.pack("<HH", 6, 0))
    exif = b"II*\0" + struct.pack("<LH", 8, 2) + turned + odd + struct.pack("<L", 0) + struct.pack("<ll", -5, 1)
    (tmp_path / "odd.jpg").write_bytes(jpeg_with_exif(exif))
    with Image.open(io.BytesIO(read_upright(tmp_path / "odd.jpg"))) as read:
        assert read.size == shown(tmp_path / "odd.jpg").size == (40, 20)


@pytest.mark.parametrize("exif", [b"", b"II", b"garbage garbage", b"II*\0\x08\0\0"])
def test_a_picture_whose_exif_is_broken_is_taken_as_it_lies(exif, tmp_path):
    (tmp_path / "odd.jpg").write_bytes(jpeg_with_exif(exif))
    assert read_upright(tmp_path / "odd.jpg") == (tmp_path / "odd.jpg").read_bytes()
    assert shown(tmp_path / "odd.jpg").size == (20, 40)


def test_a_picture_that_cannot_be_shown_is_left_out_of_the_page(people, tmp_path, monkeypatch):
    assert thumbnail(people / "val_0.jpg").startswith("data:image/jpeg;base64,")
    (tmp_path / "cut.jpg").write_bytes((people / "val_0.jpg").read_bytes()[:100])
    assert thumbnail(tmp_path / "cut.jpg") == thumbnail(tmp_path / "absent.jpg") == ""
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", 0)  # a header that promises more pixels than Pillow decodes
    assert thumbnail(people / "val_0.jpg") == ""
