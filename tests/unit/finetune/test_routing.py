"""Who is searched among whom: queries by their wording, pictures by name, else by pixels, in doubt among both."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from finetune import gallery_kinds
from finetune.colour import load_colours
from finetune.datasets.challenge import images_folder, kind_of_image, list_gallery, read_labels
from finetune.datasets.retrieval_split import read_test
from finetune.datasets.routing import kind_of_query, route
from finetune.gallery_kinds import rerouted, routes_of
from finetune.kind_router import KindRouter, kind_features, train_router
from pipeline.contracts.challenge import BRANDS, COLOURS, TYPES, VehicleTag
from pipeline.contracts.errors import ConfigError, ContractError

FEATURES = 3 * 64 + 1


def test_a_jpeg_is_one_in_capitals_too(tmp_path):
    folder = images_folder(tmp_path, "test")
    folder.mkdir(parents=True)
    for name in ("000001.jpg", "000002.JPG", "vehicle_0000003.jpeg", "notes.txt"):
        (folder / name).touch()
    assert list_gallery(tmp_path) == ["000001.jpg", "000002.JPG", "vehicle_0000003.jpeg"]
    assert [kind_of_image(name) for name in list_gallery(tmp_path)] == ["pedestrian", "pedestrian", "vehicle"]


@pytest.mark.parametrize(
    "text",
    [
        "A walking woman who is a minor. She is in short sleeve shirt.",
        "A PEDESTRIAN WHO IS MALE IS an adult person aged 18-60.",
        "a woman in a red coat with a backpack",
        "two people",
        "He is wearning glasses",
        "  a tall man next to a white Audi Sedan  ",
    ],
)
def test_a_text_about_a_person_is_a_pedestrian_query_in_any_words(text):
    assert kind_of_query(text) == "pedestrian"


def test_no_vehicle_text_is_taken_for_one_about_a_person():
    for colour, brand, kind in product((None, *COLOURS), (None, *BRANDS), (None, *TYPES)):
        if colour or brand or kind:
            tag = str(VehicleTag(colour, brand, kind)).removesuffix(".")
            for text in (f"This is a {tag}.", f"An {tag}", tag.upper(), f"{tag} image taken by traffic surveillance cameras"):
                assert kind_of_query(text) == "vehicle", text


def test_every_published_line_is_routed_by_its_text(shared: Path):
    records = read_labels(shared / "data" / "challenge" / "val_label_sample.txt")
    assert {record.kind for record in records} == {"pedestrian", "vehicle"}
    assert all(kind_of_query(record.text) == record.kind for record in records)


def test_every_query_and_every_picture_is_routed_and_unknown_names_to_both():
    queries, gallery = ["A white Audi.", "a man", "A white Audi."], ["000001.jpg", "vehicle_0000001.jpg", "x.jpg", "abcdefghij.jpg"]
    assert route(queries, gallery) == {"pedestrian": ([1], [0, 2]), "vehicle": ([0, 2], [1, 2, 3])}
    assert route([], []) == {"pedestrian": ([], []), "vehicle": ([], [])}


def unsure(certainty: float) -> KindRouter:
    """A router that says "vehicle" with this log-odds to everything."""
    zeros = torch.zeros(FEATURES)
    return KindRouter(zeros, torch.tensor([certainty]), zeros, torch.ones(FEATURES))


@pytest.mark.parametrize(("odds", "searched"), [(0.1, {"pedestrian", "vehicle"}), (5.0, {"vehicle"}), (-5.0, {"pedestrian"})])
def test_a_doubtful_picture_is_searched_for_both_kinds(odds, searched, miniature, tmp_path, monkeypatch):
    import shutil

    shutil.copytree(miniature, tmp_path / "data")
    folder = tmp_path / "data" / "test" / "test_images"
    renamed = folder / "zz-renamed.jpg"
    sorted(folder.iterdir())[0].rename(renamed)
    (tmp_path / "data" / "test" / "test_gt.txt").unlink()
    monkeypatch.setattr(gallery_kinds, "router_of", lambda root: unsure(odds))
    split = rerouted(tmp_path / "data", read_test(tmp_path / "data"))
    place = split.gallery.index(renamed.name)
    assert {kind for kind, (_, columns) in split.routes.items() if place in columns} == searched


def test_pictures_of_any_shape_are_looked_at_and_unreadable_ones_named(tmp_path: Path):
    Image.new("L", (1, 90), 120).save(tmp_path / "grey.jpg")
    Image.new("RGBA", (300, 2)).save(tmp_path / "flat.png")
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    found = routes_of(unsure(2.0), tmp_path, ["grey.jpg", "flat.png"])
    assert [route.kind for route in found] == ["vehicle"] * 2
    assert all(0.5 <= route.confidence <= 1 for route in found)
    for name in ("broken.jpg", "absent.jpg"):
        with pytest.raises(ContractError, match="missing or no readable picture"):
            routes_of(unsure(2.0), tmp_path, [name])


def test_a_router_needs_both_kinds():
    rng = np.random.default_rng(0)
    people, cars = ([rng.integers(0, 255, shape, dtype=np.uint8) for _ in range(4)] for shape in ((64, 24, 3), (32, 48, 3)))
    with pytest.raises(ConfigError, match="one kind only"):
        train_router(people, ["pedestrian"] * 4)
    router = train_router([*people, *cars], ["pedestrian"] * 4 + ["vehicle"] * 4)
    assert [found.kind for found in router.routes(people + cars)] == ["pedestrian"] * 4 + ["vehicle"] * 4
    assert kind_features(people[0]).shape == (FEATURES,)


def test_a_damaged_colour_classifier_is_named(tmp_path: Path):
    (tmp_path / "colour.safetensors").write_bytes(b"x")
    with pytest.raises(ContractError, match=r"colour\.safetensors is not a readable safetensors file"):
        load_colours(tmp_path)
