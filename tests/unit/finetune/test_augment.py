"""Pictures of the CLIP and BLIP recipes: what each augmentation leaves and changes."""

import numpy as np
import pytest

from finetune import augment
from finetune.augment import PATCH_RGB, PATCH_SHARE, degrade, padded_square, paste, train_pixels
from finetune.augment_settings import CLIP_MEAN, CLIP_STD, PictureConfig
from pipeline.contracts.challenge import COLOURS
from pipeline.contracts.errors import ConfigError
from pretrain.augment import normalise

PLAIN = {"flip": 0.0, "pad_px": 0, "erasing": 0.0}


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (96, 32, 3), dtype=np.uint8)


def pixels(picture: np.ndarray, seed: int = 0, colour: str | None = None, **options) -> np.ndarray:
    return train_pixels(picture, PictureConfig(**options), np.random.default_rng(seed), colour)


def test_without_augmentation_pixels_are_normalised_and_nothing_else(picture):
    config = PictureConfig(**PLAIN)
    found = pixels(picture, **PLAIN)
    assert np.array_equal(found, normalise(picture, config.mean, config.std))
    assert found[1, 5, 7] == pytest.approx((picture[5, 7, 1] / 255 - config.mean[1]) / config.std[1], rel=1e-5)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another(picture):
    assert np.array_equal(pixels(picture, 3), pixels(picture, 3))
    assert not np.array_equal(pixels(picture, 3), pixels(picture, 4))


def test_a_flip_mirrors_and_a_padded_crop_shifts_by_ten_pixels_at_most(picture):
    assert np.array_equal(pixels(picture, flip=1.0, pad_px=0, erasing=0.0), pixels(picture, **PLAIN)[:, :, ::-1])
    black = normalise(np.zeros_like(picture), CLIP_MEAN, CLIP_STD)
    shifted = pixels(np.full_like(picture, 255), 1, flip=0.0, pad_px=10, erasing=0.0)
    rows = (shifted[0] == black[0]).all(1).sum()
    columns = (shifted[0] == black[0]).all(0).sum()
    assert rows <= 10
    assert columns <= 10
    assert rows + columns > 0


def test_a_crop_holds_at_least_its_share_of_the_area_and_is_one(monkeypatch):
    areas = []
    resize = augment.cv2.resize
    monkeypatch.setattr(
        augment.cv2, "resize", lambda part, *rest, **more: areas.append(part.shape[0] * part.shape[1]) or resize(part, *rest, **more)
    )
    for seed in range(100):
        pixels(np.zeros((200, 200, 3), np.uint8), seed, **PLAIN, crop_scale=0.9)
    assert len(areas) > 70
    assert 0.895 < min(areas) / 200**2 < 0.92
    assert max(areas) < 200**2


def test_erasing_fills_with_the_mean_or_with_zero(picture):
    config = PictureConfig()
    filled = pixels(picture, 1, flip=0.0, pad_px=0, erasing=1.0)
    changed = filled != pixels(picture, 1, **PLAIN)
    share = changed.all(0).mean()
    assert 0.02 <= share <= 0.42
    assert set(filled[0][changed.all(0)].tolist()) == {np.float32(config.mean[0])}
    zeroed = pixels(picture, 1, flip=0.0, pad_px=0, erasing=1.0, erase_with_mean=False)
    assert set(zeroed[0][changed.all(0)].tolist()) == {0.0}


def test_the_patch_survives_every_augmentation_at_its_place(picture):
    side = round(PATCH_SHARE * 32)
    for seed in range(5):
        found = pixels(picture, seed, "orange", flip=1.0, crop_scale=0.5, operations=2, erasing=0.0)
        orange = normalise(np.full((1, 1, 3), PATCH_RGB["orange"], np.uint8), CLIP_MEAN, CLIP_STD)
        assert np.allclose(found[:, :side, :side], orange)
    assert set(PATCH_RGB) == set(COLOURS)
    assert paste(picture, None) is picture


def test_a_degraded_picture_keeps_its_size_and_loses_detail(picture):
    rng = np.random.default_rng(0)
    found = degrade(picture, rng)
    assert found.shape == picture.shape
    assert found.dtype == np.uint8
    assert np.abs(np.diff(found.astype(int), axis=0)).mean() < np.abs(np.diff(picture.astype(int), axis=0)).mean() / 2


@pytest.mark.parametrize(("shape", "corner"), [((4, 7), (1, 0)), ((7, 4), (0, 1)), ((5, 5), (0, 0))])
def test_squares_put_the_odd_pixel_behind(shape, corner):
    square = padded_square(np.full((*shape, 3), 9, np.uint8))
    top, left = corner
    assert square.shape == (max(shape), max(shape), 3)
    assert (square[top : top + shape[0], left : left + shape[1]] == 9).all()
    assert square.sum() == 9 * 3 * shape[0] * shape[1]


@pytest.mark.parametrize("options", [{"flip": 2.0}, {"degrade": -0.1}, {"crop_scale": 0.0}, {"pad_px": -1}, {"level": 11}])
def test_settings_out_of_range_are_refused(options):
    with pytest.raises(ConfigError, match="accepted"):
        PictureConfig(**options)
