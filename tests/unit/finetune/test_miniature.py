"""The challenge miniature: format, determinism, disjoint identities, right answers."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from finetune.datasets.challenge import (
    Pedestrian,
    Vehicle,
    gold_path,
    images_folder,
    kind_of_image,
    labels_path,
    list_gallery,
    queries_path,
    read_gold,
    read_labels,
    read_queries,
)
from finetune.datasets.routing import kind_of_query
from generation.embedded import miniature
from generation.embedded.miniature import MiniatureSizes, make_miniature
from pipeline.contracts.challenge import parse_tag
from pipeline.contracts.errors import ConfigError, ContractError, StageError

TINY = MiniatureSizes(train_people=3, train_vehicles=6, val_people=1, val_vehicles=2, test_people=2, test_vehicles=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("challenge") / "miniature"
    assert make_miniature(out, 5, TINY)
    return out


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("split", "people", "vehicles"), [("train", 9, 18), ("val", 3, 6)])
def test_label_files_hold_vehicles_first_and_a_line_for_every_picture(folder, split, people, vehicles):
    records = read_labels(labels_path(folder, split))
    assert [r.kind for r in records] == ["vehicle"] * vehicles + ["pedestrian"] * people
    assert sorted(r.image for r in records) == sorted(path.name for path in images_folder(folder, split).iterdir())
    assert all(kind_of_image(r.image) == r.kind == kind_of_query(r.text) for r in records)
    assert all(said in (-1, bit) for r in records if isinstance(r, Pedestrian) for said, bit in zip(r.mentioned, r.bits, strict=True))


def test_a_person_is_seen_from_each_view(folder):
    records = [r for r in read_labels(labels_path(folder, "train")) if isinstance(r, Pedestrian)]
    for first in range(0, 9, 3):
        assert [r.bits[4:7] for r in records[first : first + 3]] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
        assert len({r.bits[:4] + r.bits[7:] for r in records[first : first + 3]}) == 1


def test_train_and_val_tags_leave_a_slot_open_and_test_queries_fill_all(folder):
    train, val = ([r.tag for r in read_labels(labels_path(folder, s)) if isinstance(r, Vehicle)] for s in ("train", "val"))
    queries = [text for text in read_queries(queries_path(folder)) if kind_of_query(text) == "vehicle"]
    asked = [parse_tag(text.removeprefix("This is ").split(" ", 1)[1]) for text in queries]
    assert all(None in (tag.colour, tag.brand, tag.type) for tag in train + val)
    assert all(None not in (tag.colour, tag.brand, tag.type) for tag in asked)
    assert {(tag.colour, tag.brand) for tag in asked} <= {(tag.colour, tag.brand) for tag in train}


def test_there_is_a_query_for_every_test_picture_and_its_own_picture_answers_it(folder):
    queries, gold, gallery = read_queries(queries_path(folder)), read_gold(gold_path(folder)), list_gallery(folder)
    assert [text for text, _ in gold] == queries
    assert len(queries) == len(gallery) == 12
    assert [kind_of_query(text) for text in queries] == ["vehicle"] * 6 + ["pedestrian"] * 6
    assert all(len(names) == 3 for _, names in gold[:6])
    assert set(gallery) == {name for _, names in gold for name in names}
    assert all(kind_of_image(name) == kind_of_query(text) for text, names in gold for name in names)


def test_no_vehicle_identity_is_in_two_splits():
    sizes = MiniatureSizes()
    drawn = miniature._vehicles(miniature.Random(1), sizes)
    identities = [vehicle for split in drawn.values() for vehicle, _ in split]
    assert len(set(identities)) == len(identities) == sizes.train_vehicles + sizes.val_vehicles + sizes.test_vehicles
    assert {tag.type for _, tag in drawn["train"] if tag.type} == set(miniature.TYPES)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    make_miniature(tmp_path / "again", 5, TINY)
    make_miniature(tmp_path / "other", 6, TINY)
    assert contents(tmp_path / "again") == contents(folder)
    assert contents(tmp_path / "other").keys() != contents(folder).keys()


def test_a_finished_folder_is_reused_and_any_other_refused(folder, tmp_path):
    assert not make_miniature(folder, 5, TINY)
    with pytest.raises(ContractError, match="choose another folder or remove this one"):
        make_miniature(folder, 6, TINY)
    with pytest.raises(ContractError, match="holds no miniature"):
        make_miniature(tmp_path, 5, TINY)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def refuse(path, lines):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(miniature, "_write_text", refuse)
    with pytest.raises(StageError, match="No space left"):
        make_miniature(tmp_path / "m", 5, TINY)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [{"train_people": 0}, {"train_vehicles": 111}, {"val_vehicles": 4}])
def test_impossible_sizes_are_refused(change):
    sizes = {"train_people": 3, "train_vehicles": 6, "val_people": 1, "val_vehicles": 2, "test_people": 2, "test_vehicles": 2}
    with pytest.raises(ConfigError, match="miniature"):
        MiniatureSizes(**(sizes | change))


def test_the_command_makes_what_was_asked_for_and_says_so(tmp_path):
    sizes = [f"--{split}-{kind}={size}" for kind in ("people", "vehicles") for split, size in (("train", 4), ("val", 1), ("test", 1))]
    result = CliRunner().invoke(miniature.command, ["--out", str(tmp_path / "m"), "--seed", "3", *sizes])
    assert result.exit_code == 0, result.output
    assert '"seed": 3, "sizes": {"train_people": 4' in result.output
    assert len(list_gallery(tmp_path / "m")) == 6
