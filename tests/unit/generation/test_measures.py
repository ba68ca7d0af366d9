"""What is measured of a picture and of a person, and what is decided from it."""

import json
from dataclasses import fields

import numpy as np
import pytest

from generation.filter_decision import REASONS, Thresholds, decide
from generation.image_measures import colour_variance, entropy_bits, laplacian_variance, measure_image, noise_sigma
from generation.pose_measures import distinct_persons, measure_persons
from pipeline.contracts.errors import ConfigError
from tests.unit.generation.figures import figure, grainy, salted, standing


@pytest.fixture(scope="module")
def good() -> dict[str, float]:
    image = figure()
    return measure_image(image, 1000) | measure_persons([standing(120)], 100, 200)


# ---- measures -------------------------------------------------------------------------------------------------------------------------
def test_colour_variance_sees_through_a_tint() -> None:
    grey = np.random.default_rng(0).integers(0, 200, (64, 32, 1)).astype(np.float32)
    sepia = np.concatenate([grey * 1.1 + 8, grey * 0.95, grey * 0.75], axis=2).round().astype(np.uint8)
    assert colour_variance(np.repeat(grey, 3, axis=2).astype(np.uint8)) < 0.1
    assert colour_variance(sepia) < 1
    assert sepia.astype(float).var(axis=2).mean() > 100  # what the plain variance says of it
    assert colour_variance(figure()) > 20


def test_entropy_of_known_histograms() -> None:
    assert entropy_bits(np.full((8, 8), 7, np.float32)) == 0
    assert entropy_bits(np.repeat(np.arange(4, dtype=np.float32) * 60, 16)) == 2


def test_noise_is_measured_in_grey_levels_and_edges_do_not_count() -> None:
    rng = np.random.default_rng(0)
    edges = np.where(np.arange(100) < 50, 20.0, 200.0) * np.ones((100, 1))
    assert noise_sigma(edges.astype(np.float32)) == 0
    assert noise_sigma((edges + rng.normal(0, 8, edges.shape)).astype(np.float32)) == pytest.approx(8, rel=0.15)


def test_wrong_pixels_are_noise_however_few() -> None:
    rng = np.random.default_rng(0)
    flat = np.full((100, 100, 3), 128, np.uint8)
    for share in (0.01, 0.05):
        expected = salted(flat, share, rng)[..., 0].astype(np.float32)
        assert noise_sigma(expected) == pytest.approx(expected.std(), rel=0.25)
    both = grainy(salted(flat, 0.01, rng), 8, rng)[..., 0].astype(np.float32)
    assert noise_sigma(both) == pytest.approx(both.std(), rel=0.25)


def test_laplacian_variance_falls_with_blur() -> None:
    sharp = np.kron(np.indices((8, 8)).sum(axis=0) % 2, np.ones((8, 8))).astype(np.float32) * 255
    soft = sum(np.roll(sharp, (dy, dx), (0, 1)) for dy in range(-2, 3) for dx in range(-2, 3)) / 25
    assert laplacian_variance(soft.astype(np.float32)) < laplacian_variance(sharp) / 10


def test_measures_agree_across_sizes() -> None:
    small, large = figure(), np.repeat(np.repeat(figure(), 2, axis=0), 2, axis=1)
    one, two = measure_image(small, 1), measure_image(large, 1)
    for name in ("luma_std", "colour_variance", "laplacian_variance", "jpeg_bytes_per_px"):
        assert two[name] == pytest.approx(one[name], rel=0.05)


def test_two_poses_of_one_body_are_one_person() -> None:
    main, ghost, other = standing(120), standing(118, left=53), standing(110, left=90)
    assert len(distinct_persons([ghost, main])) == 1
    assert len(distinct_persons([main, other])) == 2


def test_bystanders_and_upside_down_ghosts_are_not_counted() -> None:
    small, upside_down = standing(30, left=90), standing(110, left=90)
    upside_down[:, 1] = 200 - upside_down[:, 1]
    assert measure_persons([standing(120), small], 100, 200)["num_persons"] == 1
    assert measure_persons([standing(120), upside_down], 100, 200)["num_persons"] == 1
    assert measure_persons([standing(120), standing(90, left=90)], 100, 200)["num_persons"] == 2


# ---- decisions ------------------------------------------------------------------------------------------------------------------------
def test_a_whole_standing_person_is_kept(good: dict[str, float]) -> None:
    assert decide(good, Thresholds()) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"luma_std": 1.0}, "blank_image"),
        ({"entropy_bits": 0.5}, "blank_image"),
        ({"colour_variance": 3.0}, "grayscale_image"),
        ({"laplacian_variance": 1.0}, "blurred_image"),
        ({"noise_sigma": 25.0}, "noisy_image"),
        ({"jpeg_bytes_per_px": 0.05}, "tiny_file"),
        ({"num_persons": 0}, "no_person"),
        ({"num_persons": 2}, "several_persons"),
        ({"presence_ankles": 0.1}, "incomplete_body"),
        ({"presence_nose": 0.1}, "incomplete_body"),
        ({"visibility_knees": 0.1}, "incomplete_body"),
        ({"visible_keypoints": 9}, "incomplete_body"),
        ({"margin_top": -0.07}, "body_out_of_frame"),
        ({"margin_left": -0.1}, "body_out_of_frame"),
        ({"leg_ratio": 0.7}, "not_standing"),
        ({"head_ratio": -0.2}, "not_standing"),
        ({"body_share": 0.2}, "small_person"),
    ],
)
def test_each_reason_has_its_measure(good: dict[str, float], change: dict[str, float], reason: str) -> None:
    assert decide(good | change, Thresholds()) == reason
    assert reason in REASONS


def test_a_kneeling_or_overturned_body_does_not_stand(good: dict[str, float]) -> None:
    kneeling = standing(120)
    kneeling[[25, 26, 27, 28], 1] = kneeling[23, 1] + 30  # knees and ankles at one height, a thigh below the hips
    assert decide(good | measure_persons([kneeling], 100, 200), Thresholds()) == "not_standing"
    overturned = standing(120)
    overturned[:, 1] = 200 - overturned[:, 1]
    measures = {name: value for name, value in good.items() if name not in ("leg_ratio", "head_ratio")}
    assert decide(measures | measure_persons([overturned], 100, 200), Thresholds()) == "not_standing"


def test_decisions_need_stored_measures_only(good: dict[str, float]) -> None:
    stored = json.loads(json.dumps(good))
    assert decide(stored, Thresholds(min_body_share=0.99)) == "small_person"
    assert decide(stored | {"noise_sigma": 99}, Thresholds(max_noise_sigma=None)) is None


def test_impossible_thresholds_are_refused() -> None:
    with pytest.raises(ConfigError, match="max_persons=0"):
        Thresholds(max_persons=0)
    with pytest.raises(ConfigError, match="min_presence"):
        Thresholds(min_presence=1.5)
    assert all(f.default is not None for f in fields(Thresholds))
