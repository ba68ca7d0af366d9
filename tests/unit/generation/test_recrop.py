"""Key points to crop."""

import numpy as np
import pytest

from generation.config import RecropConfig
from generation.crop import crop, person_box
from generation.images import decode_rgb, encode_png
from generation.recrop import RecropStage
from pipeline.contracts.errors import ConfigError
from pipeline.contracts.stage import Drop, Fail, Item, Keep


def keypoints(top: float, bottom: float, x: float = 60.0, outside: float | None = None) -> list[list[float]]:
    points = [[x, top + (bottom - top) * i / 32, 1.0, 1.0] for i in range(33)]
    if outside is not None:
        points[20] = [outside, top, 0.1, 0.1]  # a hand that the model only guesses
    return points


def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (256, 128, 3)).astype(np.uint8)


def test_box_by_hand() -> None:
    points = np.array([[50.0, 100.0], [50.0, 200.0]])
    assert person_box(points, pad_top=0.2, pad_bottom=0.1, pad_side=0.0, aspect=0.5) == (17, 80, 83, 210)  # 130 high, 65 wide


def test_wide_points_make_the_box_higher() -> None:
    points = np.array([[0.0, 100.0], [200.0, 150.0]])
    x0, y0, x1, y1 = person_box(points, pad_top=0, pad_bottom=0, pad_side=0, aspect=0.5)
    assert (x0, x1) == (0, 200)
    assert (y0, y1) == (-75, 325)


def test_edge_pixels_are_repeated_outside() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    out = crop(image, (-1, -1, 3, 3))
    assert (out[0, 0] == image[0, 0]).all()
    assert (out[3, 3] == image[1, 1]).all()
    with pytest.raises(ValueError, match="empty"):
        crop(image, (1, 1, 1, 2))


def test_stage_writes_a_jpeg_of_the_configured_size_and_its_box() -> None:
    (outcome,) = RecropStage(RecropConfig(height=192, width=96)).process(
        [Item("a", {"keypoints": keypoints(40, 220)}, encode_png(picture()))]
    )
    assert isinstance(outcome, Keep)
    assert outcome.image is not None
    assert outcome.image.startswith(b"\xff\xd8")
    assert decode_rgb(outcome.image).shape == (192, 96, 3)
    x0, y0, x1, y1 = outcome.row["crop_xyxy_px"]
    assert x0 < 60 < x1
    assert y0 < 40 - 0.15 * 180
    assert y1 > 220


def test_guessed_points_do_not_stretch_the_box() -> None:
    stage = RecropStage(RecropConfig())
    image = encode_png(picture())
    plain, guessed = stage.process(
        [Item("a", {"keypoints": keypoints(40, 220)}, image), Item("b", {"keypoints": keypoints(40, 220, outside=500)}, image)]
    )
    assert isinstance(plain, Keep)
    assert isinstance(guessed, Keep)
    assert plain.row == guessed.row


def test_small_boxes_drop_and_corrupt_pictures_fail() -> None:
    stage = RecropStage(RecropConfig(min_height_px=64))
    small, corrupt = stage.process(
        [Item("a", {"keypoints": keypoints(100, 140)}, encode_png(picture())), Item("b", {"keypoints": keypoints(40, 220)}, b"")]
    )
    assert isinstance(small, Drop)
    assert small.reason == "small_crop"
    assert isinstance(corrupt, Fail)


@pytest.mark.parametrize("values", [{"height": 0}, {"pad_top": 2.0}, {"jpeg_quality": 101}])
def test_impossible_settings_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"recrop\."):
        RecropConfig(**values)  # type: ignore[arg-type]
