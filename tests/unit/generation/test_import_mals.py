"""What an import makes of a MALS download that is not as published."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from generation.cli import main
from generation.exchange.hf import export_hf
from generation.exchange.mals import export_mals, import_mals
from generation.exchange.shards import iter_samples
from generation.split import prompt_identity, validation_prompts
from pipeline.contracts.errors import ContractError
from pipeline.lint import lint
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from tests.unit.generation.exchanged import mals_folder, samples, save_shards, write_list


def test_the_card_of_an_import_does_not_claim_that_passerby_made_it(tmp_path: Path) -> None:
    mals = mals_folder(tmp_path / "m", {"caption": "a woman"})
    import_mals(mals, tmp_path / "shards", samples_per_shard=5, val_fraction=0, seed=1)
    export_hf(tmp_path / "shards", tmp_path / "hf", "mals", None)
    card = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert "2 of 2 were made elsewhere" in card
    assert "The prompts of 2 samples are not known" in card
    for claim in ("made by passerby", "No picture shows a real person", "1 different prompts", "`pid`"):
        assert claim not in card


def test_bad_records_are_counted_by_reason_and_the_rest_goes_on(tmp_path: Path) -> None:
    good = {"image": "gene_crop/x/0.jpg", "caption": "a man", "image_id": "x_0", "label": [-1] * 27}
    bad = [
        good | {"label": [2] * 27},
        good | {"label": [0] * 26},
        good | {"caption": " "},
        good | {"image": "gene_crop/x/9.jpg"},
        good | {"image": "../secret.jpg"},
        good | {"image": "gene_crop/x/1.jpg"},
        {"image": "gene_crop/x/0.jpg", "caption": "a man"},
        "gene_crop/x/0.jpg",
    ]
    write_list(tmp_path / "m", "g_c_g_a_0_attrs.json", [good, *bad])
    pictures = tmp_path / "m" / "gene_crop" / "x"
    pictures.mkdir(parents=True)
    picture = next(samples(1)).image
    (pictures / "0.jpg").write_bytes(picture)
    (pictures / "1.jpg").write_bytes(picture[:200])
    (tmp_path / "secret.jpg").write_bytes(picture)
    counts = import_mals(tmp_path / "m", tmp_path / "out", samples_per_shard=10, val_fraction=0, seed=0).manifest.counts
    assert (counts.seen, counts.kept, counts.failed) == (9, 1, 8)
    assert counts.reasons == {"bad_label": 2, "bad_record": 2, "corrupt_image": 1, "empty_caption": 1, "missing_image": 2}
    (sample,) = iter_samples(tmp_path / "out" / "train-000000.tar")
    assert (sample.meta.source, sample.meta.crop_xyxy_px) == ("MALS, prompts of CUHK-PEDES", [0, 0, 16, 32])


def test_the_ledger_names_the_list_and_place_of_each_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    half = {"image_id": "x_\ud83d", "label": [-1] * 26}
    mals, out = mals_folder(tmp_path / "m", {"label": [2] * 27}, {"image_id": ["x", 2]}, half), tmp_path / "out"
    write_list(mals, "g_i_g_a_attrs.json", ["none", {"image": "gene_crop/x/1.jpg"}])
    assert main(["import-mals", str(mals), str(out)]) == 0
    printed = capsys.readouterr()
    ledger = out / "ledger" / "000000.parquet"
    assert json.loads(printed.out)["ledger"] == str(ledger)
    assert f"5 of 6 records became no sample (bad_image_id 1, bad_label 2, bad_record 2); {ledger} says which" in printed.err
    columns = ("key", "status", "reason", "list", "record", "image_id", "image")
    first, second = "g_c_g_a_0_attrs.json", "g_i_g_a_attrs.json"
    assert [tuple(row[name] for name in columns) for row in read_rows(ledger)] == [
        ("000000000_00", "kept", None, first, 0, "x_0", "gene_crop/x/0.jpg"),
        (None, "failed", "bad_label", first, 1, "x_0", "gene_crop/x/1.jpg"),
        (None, "failed", "bad_image_id", first, 2, '["x", 2]', "gene_crop/x/2.jpg"),
        (None, "failed", "bad_label", first, 3, '"x_\\ud83d"', "gene_crop/x/3.jpg"),
        (None, "failed", "bad_record", second, 0, None, None),
        (None, "failed", "bad_record", second, 1, None, "gene_crop/x/1.jpg"),
    ]


def test_a_picture_becomes_one_sample_however_often_it_is_listed(tmp_path: Path) -> None:
    image = "gene_crop/x/0.jpg"
    mals = mals_folder(tmp_path / "m", {"image": image}, {"image": "./gene_crop//x/0.jpg", "caption": "a woman"}, {"label": [3] * 27})
    write_list(mals, "g_4x_attrs.json", [{"image": "gene_crop/x/3.jpg", "caption": "a boy", "image_id": "4x_0", "label": [-1] * 27}])
    counts = import_mals(mals, tmp_path / "out", samples_per_shard=10, val_fraction=0, seed=0).manifest.counts
    assert (counts.seen, counts.kept, counts.dropped, counts.failed) == (5, 2, 2, 1)
    assert counts.reasons == {"bad_label": 1, "repeated": 2}
    assert lint(RunPaths(tmp_path / "out")) == []


def test_an_image_of_an_export_becomes_one_sample_whatever_its_picture_is_called(tmp_path: Path) -> None:
    mals = tmp_path / "m"
    export_mals(save_shards(tmp_path / "shards"), mals, ("train",), parts=("4x",))
    records = json.loads((mals / "gene_attrs" / "g_4x_attrs.json").read_text())
    shutil.copy(mals / records[0]["image"], mals / "gene_crop" / "copy.jpg")
    write_list(mals, "g_4x_attrs.json", [*records, records[0] | {"image": "gene_crop/copy.jpg"}])
    counts = import_mals(mals, tmp_path / "out", samples_per_shard=10, val_fraction=0, seed=0).manifest.counts
    assert (counts.kept, counts.reasons) == (10, {"repeated": 1})
    assert lint(RunPaths(tmp_path / "out")) == []


@pytest.mark.parametrize("seed", range(4))
def test_texts_are_held_out_as_the_shard_stage_does(tmp_path: Path, seed: int) -> None:
    captions = [f"a man in coat {number}" for number in range(8)]
    spoiled = {"caption": "a man without labels", "label": []}
    mals = mals_folder(tmp_path / "m", spoiled, *({"caption": caption} for caption in (*captions, captions[0].upper())))
    manifest = import_mals(mals, tmp_path / "out", samples_per_shard=20, val_fraction=0.25, seed=seed).manifest
    assert manifest.counts.kept == 10
    held_out = {prompt_identity(sample.meta.caption) for sample in iter_samples(tmp_path / "out" / "val-000000.tar")}
    assert held_out == validation_prompts({"a man", *captions}, seed, 0.25)


def test_a_split_that_stays_empty_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mals = mals_folder(tmp_path / "m", {})
    assert main(["import-mals", str(mals), str(tmp_path / "out")]) == 0
    assert "all samples are in split train" in capsys.readouterr().err
    assert main(["import-mals", str(mals), str(tmp_path / "again"), "--val-fraction", "0"]) == 0
    assert not capsys.readouterr().err


def test_pictures_may_lie_on_another_disk(tmp_path: Path) -> None:
    mals = mals_folder(tmp_path / "m")
    (mals / "gene_crop").rename(tmp_path / "disk")
    (mals / "gene_crop").symlink_to(tmp_path / "disk")
    counts = import_mals(mals, tmp_path / "out", samples_per_shard=10, val_fraction=0, seed=0).manifest.counts
    assert (counts.kept, counts.failed) == (1, 0)


_OUTSIDE = "gene_crop/../../m/gene_crop/x/0.jpg"


@pytest.mark.parametrize("image", [5, None, ["gene_crop/x/0.jpg"], "", "gene_crop", "gene_crop/x/\0.jpg", _OUTSIDE])
def test_names_that_are_no_picture_of_the_folder_are_counted(tmp_path: Path, image: Any) -> None:
    mals = mals_folder(tmp_path / "m", {"image": image}, {"image": str(tmp_path / "m" / "gene_crop" / "x" / "0.jpg")})
    counts = import_mals(mals, tmp_path / "out", samples_per_shard=10, val_fraction=0, seed=0).manifest.counts
    assert (counts.kept, counts.reasons) == (1, {"missing_image": 2})


def test_a_text_that_was_cut_inside_a_character_is_counted_not_fatal(tmp_path: Path) -> None:
    changes = [{"caption": "a man \ud83d"}, {"image_id": "x_\ud83d"}, {"image_id": ["\ud83d"]}, {"caption": "a man \U0001f600"}]
    mals = mals_folder(tmp_path / "m", *changes)
    counts = import_mals(mals, tmp_path / "out", samples_per_shard=10, val_fraction=0, seed=0).manifest.counts
    assert (counts.kept, counts.reasons) == (2, {"bad_caption": 1, "bad_image_id": 2})


@pytest.mark.parametrize("value", [1.0, True, "1", None, [1]])
def test_labels_are_whole_numbers(tmp_path: Path, value: Any) -> None:
    mals = mals_folder(tmp_path / "m", {"label": [value] + [0] * 26})
    counts = import_mals(mals, tmp_path / "out", samples_per_shard=10, val_fraction=0, seed=0).manifest.counts
    assert (counts.kept, counts.reasons) == (1, {"bad_label": 1})


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({}, "holds a dict"),
        ([{"image": "a"}], r"none of 1 .*'bad_record': 1.*with image, caption"),
        ([], "none of 0 records became a sample"),
    ],
)
def test_folders_that_are_no_mals_are_refused(tmp_path: Path, records: Any, message: str) -> None:
    with pytest.raises(ContractError, match=r"holds no g_\*_attrs\.json"):
        import_mals(tmp_path, tmp_path / "out", samples_per_shard=1, val_fraction=0, seed=0)
    write_list(tmp_path, "g_4x_attrs.json", records)
    with pytest.raises(ContractError, match=message):
        import_mals(tmp_path, tmp_path / "out", samples_per_shard=1, val_fraction=0, seed=0)
    assert not list((tmp_path / "out").glob("*.tar"))
