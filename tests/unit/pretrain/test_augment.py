"""Augmentation: repeatable, in range, and right where the research code errs."""

import numpy as np

from pretrain.augment import autocontrast, autocontrast_published, erase, normalise, rand_augment, train_pixels, translate_x
from pretrain.settings import AugmentConfig


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(40, 200, (48, 24, 3)).astype(np.uint8)


def test_the_same_generator_state_gives_the_same_pixels() -> None:
    first, second = (train_pixels(_picture(), AugmentConfig(), np.random.default_rng(7)) for _ in range(2))
    assert np.array_equal(first, second)
    assert first.shape == (3, 48, 24)
    assert first.dtype == np.float32


def test_the_input_is_never_written_to() -> None:
    picture = _picture()
    for seed in range(40):
        train_pixels(picture, AugmentConfig(), np.random.default_rng(seed))
    assert np.array_equal(picture, _picture())


def test_autocontrast_stretches_and_the_published_one_whites_out() -> None:
    stretched = autocontrast(_picture())
    assert stretched.min(axis=(0, 1)).tolist() == [0, 0, 0]
    assert stretched.max() >= 254
    assert (autocontrast_published(_picture()) == 255).all()


def test_a_constant_channel_stays_as_it_is() -> None:
    grey = np.full((8, 8, 3), 77, np.uint8)
    assert np.array_equal(autocontrast(grey), grey)


def test_the_space_that_a_shift_opens_is_grey() -> None:
    moved = translate_x(_picture(), 7.0)
    assert np.array_equal(moved[:, :-7], _picture()[:, 7:])
    assert (moved[:, -7:] == 128).all()


def test_level_zero_and_no_operations_change_little_or_nothing() -> None:
    picture, rng = _picture(), np.random.default_rng(0)
    assert rand_augment(picture, AugmentConfig(operations=0), rng) is picture


def test_erasing_takes_a_rectangle_of_the_stated_size() -> None:
    shares = []
    for seed in range(60):
        pixels = erase(np.ones((3, 48, 24), np.float32), 1.0, np.random.default_rng(seed))
        gone = pixels[0] == 0
        rows, columns = np.flatnonzero(gone.any(1)), np.flatnonzero(gone.any(0))
        assert gone[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert (pixels[1] == pixels[0]).all()
        shares.append(gone.mean())
    assert min(shares) > 0.01
    assert max(shares) < 0.42


def test_normalised_pixels_have_the_mean_and_deviation_of_the_config() -> None:
    config = AugmentConfig(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    assert np.allclose(normalise(np.full((2, 2, 3), 255, np.uint8), config.mean, config.std), 2.0)


def test_normalising_by_table_gives_the_bits_of_the_formula() -> None:
    config, picture = AugmentConfig(), np.random.default_rng(3).integers(0, 256, (40, 30, 3)).astype(np.uint8)
    mean, std = np.array(config.mean, np.float32), np.array(config.std, np.float32)
    expected = ((picture.astype(np.float32) / 255 - mean) / std).transpose(2, 0, 1)
    assert np.array_equal(normalise(picture, config.mean, config.std), expected)
    assert np.array_equal(normalise(picture[:, ::-1], config.mean, config.std), expected[..., ::-1])
