"""The procedural renderer: seeded, consistent with its labels, and drawn in the colours it claims."""

import numpy as np
import pytest

from generation.embedded.render.captions import caption
from generation.embedded.render.degrade import surveillance
from generation.embedded.render.labels import bits21, labels27
from generation.embedded.render.palette import LOWER_COLORS, UPPER_COLORS, VEHICLE_COLORS, nearest_color, sample_rgb
from generation.embedded.render.person import DRESS_COLORS, VIEWS, sample_person
from generation.embedded.render.scene import render_person
from generation.embedded.render.vehicle import BRANDS, TYPES, Vehicle, emblem_code, render_vehicle
from tests.unit.generation.failures import FAILURES, render_failure

PLAIN = {
    "backpack": False,
    "handbag": False,
    "bag": False,
    "holds_object": False,
    "upper_pattern": None,
    "long_coat": False,
    "hair_length": "short",
}


def _patch_color(image: np.ndarray, spot: tuple[float, float], names: tuple[str, ...]) -> str:
    """The name of the median colour of the 7x7 pixels around (x, y)."""
    x, y = int(spot[0]), int(spot[1])
    return nearest_color(np.median(image[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3), axis=0), names)


def _between(joints: dict, first: str, second: str, share: float) -> tuple[float, float]:
    return tuple((1 - share) * a + share * b for a, b in zip(joints[first], joints[second], strict=False))


def _middle(joints: dict, first: str, second: str) -> tuple[float, float]:
    return _between(joints, first, second, 0.5)


def test_same_seed_same_picture_other_seed_other_picture() -> None:
    def draw(seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        return render_person(sample_person(rng), rng, view="side", background=None).image

    assert np.array_equal(draw(3), draw(3))
    assert not np.array_equal(draw(3), draw(4))


def test_clothes_keep_their_shade_in_every_picture_of_a_person() -> None:
    person = sample_person(np.random.default_rng(0), upper_color="red", **PLAIN)
    shades = [sample_rgb("red", np.random.default_rng(person.look)) for _ in range(2)]
    assert np.array_equal(*shades)


def test_labels27_follow_the_polarity_of_aptm() -> None:
    person = sample_person(
        np.random.default_rng(0), gender="woman", age="child", hair_length="long", hat=True, backpack=True, handbag=False, bag=False,
        sleeve_length="short", lower_type="skirt", lower_length="long", upper_color="black", lower_color="brown",
    )  # fmt: skip
    assert labels27(person) == [0, 0, 1, 0, 0, 1, 1, 1, 0, 0] + [0] + [1] * 7 + [1] * 8 + [0]


def test_bits21_have_one_age_one_view_one_sleeve() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        person, view = sample_person(rng), VIEWS[int(rng.integers(3))]
        bits = bits21(person, view)
        assert len(bits) == 21
        assert set(bits) <= {0, 1}
        assert sum(bits[1:4]) == sum(bits[4:7]) == sum(bits[13:15]) == 1
        assert bits[4 + VIEWS.index(view)] == 1
        assert bits[0] == (person.gender == "woman")
        assert bits[20] == (person.lower_type in ("skirt", "dress"))


def test_invalid_people_name_the_field() -> None:
    rng = np.random.default_rng(0)
    for fixed, field in (
        ({"lower_type": "dress", "upper_color": "red"}, "lower_color"),
        ({"lower_type": "pants", "lower_length": "short"}, "lower_length"),
        ({"upper_color": "pink"}, "upper_color"),
        ({"age": "elderly", "hair_color": "black"}, "hair_color"),
        ({"long_coat": True, "sleeve_length": "short"}, "long_coat"),
        ({"shoe": 1}, "shoe"),
    ):
        with pytest.raises(ValueError, match=field):
            sample_person(rng, **fixed)


@pytest.mark.parametrize(
    "fixed",
    [
        {"long_coat": True},
        {"lower_length": "short"},
        {"lower_type": "dress"},
        {"lower_color": "pink"},
        {"upper_color": "red"},
        {"hair_color": "gray"},
        {"age": "elderly"},
        {"gender": "man", "lower_type": "skirt"},
        {"lower_type": "shorts"},
        {"lower_color": "yellow", "lower_type": "dress"},
    ],
    ids=str,
)
def test_every_fixed_field_is_kept(fixed: dict) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        person = sample_person(rng, **fixed)
        assert all(getattr(person, name) == value for name, value in fixed.items())
        assert person.lower_type != "dress" or person.upper_color == person.lower_color in DRESS_COLORS


@pytest.mark.parametrize("size", [(256, 128), (128, 64), (256, 96)], ids=str)
def test_joints_and_figure_are_inside(size: tuple[int, int]) -> None:
    rng, (height, width) = np.random.default_rng(5), size
    for index in range(30):
        render = render_person(sample_person(rng), rng, height=height, width=width, view=VIEWS[index % 3], background=None)
        assert render.image.shape == (height, width, 3)
        assert render.image.dtype == np.uint8
        points = np.array(list(render.joints.values()))
        assert len(points) == 15
        assert (points >= 0).all()
        assert (points < (width, height)).all()
        top, bottom = render.joints["nose"][1], max(render.joints["left_ankle"][1], render.joints["right_ankle"][1])
        assert 0.60 * height < bottom - top < 0.92 * height


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("name", UPPER_COLORS)
def test_upper_garment_has_its_color(name: str, view: str) -> None:
    rng = np.random.default_rng(7)
    named = [_upper_color(rng, name, view) for _ in range(4)]
    assert named.count(name) >= 3, named


def _upper_color(rng: np.random.Generator, name: str, view: str) -> str:
    person = sample_person(rng, upper_color=name, lower_type="pants", **PLAIN)
    render = render_person(person, rng, view=view)
    chest = _middle(
        {"s": _middle(render.joints, "left_shoulder", "right_shoulder"), "h": _middle(render.joints, "left_hip", "right_hip")}, "s", "h"
    )
    return _patch_color(render.image, chest, UPPER_COLORS)


@pytest.mark.parametrize("kind", ["pants", "skirt"])
@pytest.mark.parametrize("name", LOWER_COLORS)
def test_lower_garment_has_its_color(name: str, kind: str) -> None:
    rng = np.random.default_rng(8)
    for _ in range(3):
        render = render_person(sample_person(rng, lower_color=name, lower_type=kind, **PLAIN), rng)
        spot = _between(render.joints, "left_hip", "left_knee", 0.45)
        assert _patch_color(render.image, spot, LOWER_COLORS) == name


def test_sampled_shades_keep_their_name() -> None:
    rng = np.random.default_rng(9)
    for names in (UPPER_COLORS, LOWER_COLORS, VEHICLE_COLORS):
        for name in names:
            assert all(nearest_color(sample_rgb(name, rng), names) == name for _ in range(20)), name


def test_views_differ_and_the_face_shows_only_from_the_front() -> None:
    person = sample_person(np.random.default_rng(1), hat=False, glasses=False, skin=0, hair_color="black", age="adult", **PLAIN)
    front, side, back = (render_person(person, np.random.default_rng(4), view=view) for view in VIEWS)
    assert not np.array_equal(front.image, side.image)
    x, y = (int(value) for value in _middle(front.joints, "left_eye", "nose"))
    assert front.image[y - 2 : y + 3, x - 2 : x + 3].max() > 170
    x, y = (int(value) for value in _middle(back.joints, "left_eye", "right_eye"))
    assert back.image[y - 2 : y + 3, x - 2 : x + 3].mean() < 90


def test_captions_name_what_is_drawn() -> None:
    rng = np.random.default_rng(10)
    starts = set()
    for _ in range(400):
        person, view = sample_person(rng), VIEWS[int(rng.integers(3))]
        text = caption(person, view, rng, full=True)
        words = text.replace(",", "").split()
        starts.add(text.split()[0])
        assert text == text.lower()
        assert len(words) <= 35
        assert person.upper_color in words
        assert person.lower_color in words
        assert (person.gender == "woman") == bool({"woman", "lady", "girl"} & set(words))
        assert (person.age == "child") == bool({"boy", "girl"} & set(words))
        assert ("hat" in words, "backpack" in words) == (person.hat, person.backpack)
        assert bool({"handbag", "purse"} & set(words)) == person.handbag
        assert ("bag" in words) == person.bag
        assert f"{person.hair_length} hair" in text or f"{person.hair_length} {person.hair_color} hair" in text
        noun = {"pants": ("pants", "jeans", "trousers"), "shorts": ("shorts",), "skirt": ("skirt",), "dress": ("dress",)}[person.lower_type]
        assert any(f"{person.lower_color} {word}" in text for word in noun)
    assert len(starts) >= 3


def test_short_captions_always_name_gender_and_colors() -> None:
    rng = np.random.default_rng(11)
    texts = []
    for _ in range(200):
        person = sample_person(rng)
        texts.append(caption(person, "back", rng))
        assert person.upper_color in texts[-1]
        assert person.lower_color in texts[-1]
    assert len(set(texts)) > 180
    assert any("behind" in text for text in texts)
    assert any("hair" not in text for text in texts)


def test_failures_are_what_they_say() -> None:
    pictures = {kind: render_failure(kind, np.random.default_rng(3), 128, 64) for kind in FAILURES}
    assert all(picture.shape == (128, 64, 3) and picture.dtype == np.uint8 for picture in pictures.values())
    assert pictures["blank"].reshape(-1, 3).std(axis=0).max() == 0
    assert (pictures["gray"].max(axis=2) == pictures["gray"].min(axis=2)).all()
    steps = {kind: np.abs(np.diff(picture.astype(int), axis=1)).max() for kind, picture in pictures.items()}
    assert steps["blurred"] < 40 < steps["two_people"]
    with pytest.raises(ValueError, match="kind"):
        render_failure("upside_down", np.random.default_rng(0))


def test_surveillance_keeps_shape_and_loses_detail() -> None:
    rng = np.random.default_rng(0)
    image = render_person(sample_person(rng), rng).image
    poor = surveillance(image, rng)
    assert poor.shape == image.shape
    assert poor.dtype == np.uint8
    assert np.abs(np.diff(poor.astype(int), axis=1)).max() < np.abs(np.diff(image.astype(int), axis=1)).max()


def test_vehicle_types_colors_and_marks() -> None:
    assert len(BRANDS) == len(set(BRANDS)) == 65
    assert len(TYPES) == 6
    assert len(VEHICLE_COLORS) == 11
    assert len({emblem_code(brand) for brand in BRANDS}) == 65
    rng = np.random.default_rng(2)
    pictures = [render_vehicle(Vehicle(str(rng.choice(VEHICLE_COLORS)), str(rng.choice(BRANDS)), kind), rng, 64, 96) for kind in TYPES]
    assert all(picture.shape == (64, 96, 3) and picture.dtype == np.uint8 for picture in pictures)
    same = [render_vehicle(Vehicle("red", "Audi", kind), np.random.default_rng(1), 64, 96) for kind in TYPES]
    assert all(not np.array_equal(a, b) for i, a in enumerate(same) for b in same[:i])
    with pytest.raises(ValueError, match="brand"):
        Vehicle("red", "Wagon", "Bus")


@pytest.mark.parametrize("name", VEHICLE_COLORS)
def test_vehicle_paint_has_its_color(name: str) -> None:
    picture = render_vehicle(Vehicle(name, "BMW", "Bus"), np.random.default_rng(6), 128, 128)
    left = picture[82:86, 20:108].reshape(-1, 3)
    names = [nearest_color(pixel, VEHICLE_COLORS) for pixel in left[::4]]
    assert max(set(names), key=names.count) == name
