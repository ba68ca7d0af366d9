"""MALS in and out, and the folder for Hugging Face datasets."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from generation.cli import main
from generation.exchange.hf import export_hf
from generation.exchange.mals import PARTS, export_mals, find_lists, import_mals
from generation.exchange.shards import iter_samples
from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.contracts.sample import SampleMeta, make_key
from pipeline.lint import lint
from pipeline.manifests import read_manifest
from pipeline.paths import RunPaths
from pipeline.tables import read_rows
from tests.unit.generation.exchanged import mals_folder, samples, save_shards, write_list


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return save_shards(tmp_path / "shards")


def test_a_series_of_shards_passes_lint(shards: Path) -> None:
    assert lint(RunPaths(shards)) == []
    manifest = read_manifest(shards)
    assert manifest.split_counts == {"train": 10, "val": 2}
    assert [entry["samples"] for entry in manifest.shards.values()] == [4, 4, 2, 2]


def test_the_published_names_are_91() -> None:
    assert len(PARTS) == len(set(PARTS)) == 91
    assert {"4x", "c_g_a", "i_g_a", "c_g_a_0", "i_g_a_43"} <= set(PARTS)


def test_export_has_the_published_layout_and_import_gives_the_samples_back(shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "mals"
    assert export_mals(shards, out, ("train", "val"))["samples"] == 12
    assert len(list((out / "gene_attrs").glob("g_*_attrs.json"))) == 91
    records = [record for path in find_lists(out) for record in json.loads(path.read_text())]
    assert len(records) == 12
    for record in records:
        assert set(record) == {"image", "caption", "image_id", "label"}
        assert (out / record["image"]).read_bytes().startswith(b"\xff\xd8")
        assert record["image"] == f"gene_crop/{record['image_id'].rpartition('_')[0]}/{record['image_id'].rpartition('_')[2]}.jpg"
    origins = [json.loads(line) for line in (out / "keys.jsonl").read_text().splitlines()]
    assert [origin["image_id"] for origin in origins] == [record["image_id"] for record in records]
    assert {origin["licence"] for origin in origins} == {"CC0-1.0"}

    manifest = import_mals(out, tmp_path / "again", samples_per_shard=5, val_fraction=0.3, seed=1).manifest
    assert manifest.counts.kept == 12
    assert lint(RunPaths(tmp_path / "again")) == []
    before = {s.meta.caption: (s.image, s.meta.labels) for path in shards.glob("*.tar") for s in iter_samples(path)}
    after = {s.meta.caption: (s.image, s.meta.labels) for path in (tmp_path / "again").glob("*.tar") for s in iter_samples(path)}
    assert before == after
    index = read_rows(tmp_path / "again" / "index.parquet")
    assert 0 < sum(row["split"] == "val" for row in index) < 12


def all_samples(folder: Path) -> dict[str, tuple[str, SampleMeta]]:
    """caption -> (split, what is known of the sample)."""
    return {s.meta.caption: (path.name.split("-")[0], s.meta) for path in sorted(folder.glob("*.tar")) for s in iter_samples(path)}


def test_an_export_that_is_imported_again_keeps_where_its_samples_come_from(shards: Path, tmp_path: Path) -> None:
    mals, again = tmp_path / "mals", tmp_path / "again"
    export_mals(shards, mals, ("train", "val"))
    import_mals(mals, again, samples_per_shard=5, val_fraction=0.3, seed=1)
    after = all_samples(again)
    assert lint(RunPaths(again)) == []
    for caption, (_, meta) in all_samples(shards).items():
        for name in ("key", "seed", "prompt", "pid", "source", "licence", "generator", "captioner"):
            assert getattr(after[caption][1], name) == getattr(meta, name)
    sides = {split: {meta.prompt for side, meta in after.values() if side == split} for split in ("train", "val")}
    assert sides["train"]
    assert sides["val"]
    assert not sides["train"] & sides["val"]  # two captions have one prompt here

    export_hf(again, tmp_path / "hf", "again", None)
    card = (tmp_path / "hf" / "README.md").read_text(encoding="utf-8")
    assert "Licence of the prompts: CC0-1.0 (12)." in card
    assert "made by passerby" in card
    assert "12 samples share 6 prompts; samples of one prompt have one `pid`" in card


def test_keys_are_new_where_exports_that_were_put_together_share_some(shards: Path, tmp_path: Path) -> None:
    mals, again = tmp_path / "mals", tmp_path / "again"
    export_mals(shards, mals, ("train", "val"), parts=("4x",))
    lines = [json.loads(line) for line in (mals / "keys.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines[:5]] == [make_key(index, 0) for index in (0, 1, 2, 3, 4)]
    lines[0] |= {"key": lines[1]["key"]}
    for line in lines:
        del line["seed"]  # as exports were at first
    (mals / "keys.jsonl").write_text("".join(json.dumps(line) + "\n" for line in reversed(lines)))
    write_list(mals, "g_4x_attrs.json", json.loads((mals / "gene_attrs" / "g_4x_attrs.json").read_text())[::-1])
    assert import_mals(mals, again, samples_per_shard=5, val_fraction=0, seed=1).manifest.counts.kept == 12
    assert lint(RunPaths(again)) == []
    rows = read_rows(again / "ledger" / "000000.parquet")
    assert [row["key"] for row in rows] == [make_key(index, 0) for index in range(12)]
    assert [row["image_id"] for row in rows] == [line["image_id"] for line in reversed(lines)]
    assert {meta.seed for _, meta in all_samples(again).values()} == {0}


def test_images_that_the_origins_of_an_export_do_not_name_are_counted(shards: Path, tmp_path: Path) -> None:
    mals = tmp_path / "mals"
    export_mals(shards, mals, ("train", "val"), parts=("4x", "c_g_a"))
    lines = (mals / "keys.jsonl").read_bytes().splitlines(keepends=True)
    (mals / "keys.jsonl").write_bytes(b"".join([*lines[:2], *reversed(lines[6:])]))  # lists in another order, four images not named
    counts = import_mals(mals, tmp_path / "again", samples_per_shard=5, val_fraction=0, seed=1).manifest.counts
    assert (counts.kept, counts.reasons) == (8, {"missing_origin": 4})
    before = all_samples(shards)
    assert all(meta.prompt == before[caption][1].prompt for caption, (_, meta) in all_samples(tmp_path / "again").items())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is not JSON"),
        ('{"image_id": "4x_0"}', "line 2: prompt, pid, source, licence, generator, captioner missing"),
        ('{"image_id": "4x_0", "key": 7}', "line 2: .*captioner, key missing or of another type"),
        (None, "line 2 holds a text that was cut"),
        ("pid", "line 2: pid 1180591620717411303424, seed .*accepted: pid below"),
        ("seed", "line 2: pid .*, seed -1; accepted: pid below"),
    ],
)
def test_broken_origins_are_refused_with_their_line(shards: Path, tmp_path: Path, line: str | None, message: str) -> None:
    mals = tmp_path / "mals"
    export_mals(shards, mals, ("train",))
    first, second, *_ = (mals / "keys.jsonl").read_text().splitlines()
    changes = {None: {"prompt": "\ud83d"}, "pid": {"pid": 2**70}, "seed": {"seed": -1}}
    line = json.dumps(json.loads(second) | changes[line]) if line in changes else line
    (mals / "keys.jsonl").write_text(f"{first}\n{line}\n")
    with pytest.raises(ContractError, match=rf"keys\.jsonl, {message}.*export again, or remove the file"):
        import_mals(mals, tmp_path / "again", samples_per_shard=5, val_fraction=0, seed=1)


def test_the_way_out_of_lines_that_are_missing_is_told(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mals = tmp_path / "mals"
    export_mals(shards, mals, ("train",), parts=("4x",))
    first, *_ = (mals / "keys.jsonl").read_text().splitlines(keepends=True)
    meaning = "missing_origin: no line of keys.jsonl has its image_id; append the keys.jsonl of the export"
    (mals / "keys.jsonl").write_text(first)
    assert main(["import-mals", str(mals), str(tmp_path / "some")]) == 0
    assert meaning in capsys.readouterr().err
    (mals / "keys.jsonl").write_text(first.replace("4x_0", "4x_99"))
    assert main(["import-mals", str(mals), str(tmp_path / "none")]) == 2
    assert meaning in capsys.readouterr().err
    (mals / "keys.jsonl").write_text("")
    assert main(["import-mals", str(mals), str(tmp_path / "empty")]) == 2
    assert "keys.jsonl is empty; export again, or remove the file to import" in capsys.readouterr().err


def test_an_export_or_import_never_mixes_with_what_is_there(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    for command in ("export-mals", "export-hf", "import-mals"):
        assert main([command, str(shards), str(tmp_path / "out")]) == 2
        assert "is not empty; give a new folder" in capsys.readouterr().err
        assert main([command, str(shards), str(tmp_path / "out" / "x")]) == 2
        assert "is a file; give a new folder" in capsys.readouterr().err
        assert main([command, str(tmp_path / "none"), str(tmp_path / "new")]) == 2
        assert "does not exist" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["x"]


@pytest.mark.parametrize(
    ("command", "module", "name"),
    [
        ("export-hf", "hf", "write_card"),
        ("export-mals", "mals", "mals_record"),
        ("import-mals", "mals", "picture_size"),
    ],
)
def test_a_killed_export_or_import_leaves_nothing_that_looks_whole_and_can_be_run_again(
    shards: Path, tmp_path: Path, command: str, module: str, name: str
) -> None:
    source, out = (mals_folder(tmp_path / "m") if command == "import-mals" else shards), tmp_path / "out"
    main_and_die = f"""
import os, sys
import generation.exchange.{module} as module
from generation.cli import main
module.{name} = lambda *_: os._exit(9)
main(sys.argv[1:])
"""
    assert subprocess.run([sys.executable, "-c", main_and_die, command, source, out]).returncode == 9
    (left,) = out.iterdir()
    assert left.name.startswith(".building-")
    assert main([command, str(source), str(out)]) == 0
    assert not left.exists()
    assert {path.name for path in out.iterdir()} in (
        {"data", "README.md"},
        {"gene_attrs", "gene_crop", "keys.jsonl"},
        {"train-000000.tar", "index.parquet", "ledger", "manifest.json"},
    )


def cut(shards: Path) -> None:
    shard = shards / "train-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-12_000])


def overwrite_pixels(shards: Path) -> None:
    shard = shards / "train-000001.tar"
    data = bytearray(shard.read_bytes())
    start = data.find(b"\xff\xda") + 20
    data[start : start + 60] = bytes(60)
    shard.write_bytes(data)


def remove(shards: Path) -> None:
    (shards / "train-000001.tar").unlink()


def miscount(by: int) -> Callable[[Path], None]:
    def change(shards: Path) -> None:
        manifest = json.loads((shards / "manifest.json").read_text())
        manifest["shards"]["train-000001.tar"]["samples"] += by
        (shards / "manifest.json").write_text(json.dumps(manifest))

    return change


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (cut, "train-000001.tar has sha256"),
        (overwrite_pixels, "train-000001.tar has sha256"),
        (remove, "train-000001.tar does not exist"),
        (miscount(3), "holds 4 samples, manifest.json says 7"),
        (miscount(-1), "holds 4 samples, manifest.json says 3"),
    ],
)
def test_a_broken_shard_is_not_exported_and_nothing_is_left(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], harm: Callable[[Path], None], message: str
) -> None:
    harm(shards)
    for command in ("export-hf", "export-mals"):
        assert main([command, str(shards), str(tmp_path / command)]) == 2
        assert message in capsys.readouterr().err
        assert not list((tmp_path / command).iterdir())


def test_a_split_that_is_named_twice_is_exported_once(shards: Path, tmp_path: Path) -> None:
    assert main(["export-mals", str(shards), str(tmp_path / "out"), *3 * ("--split", "train"), "--split", "val"]) == 0
    keys = [json.loads(line)["key"] for line in (tmp_path / "out" / "keys.jsonl").read_text().splitlines()]
    assert len(keys) == len(set(keys)) == 12


def test_datasets_reads_the_export_and_the_card_says_what_is_in_it(
    shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "hf"
    assert main(["export-hf", str(shards), str(out), "--name", "tiny people"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == 12
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "license: other" in card  # CC0 prompts, but:
    assert "The licences of the models bind what they made too**: `LoRA people.safetensors` (sha256 cdcdcdcdcdcd…), `blip`." in card
    assert "# tiny people" in card
    assert "| train | 10 |" in card
    assert "embedded (steps 20), weights sha256 abababababab… (9)" in card
    assert "embedded (steps 20), weights sha256 abababababab…, LoRA people.safetensors at scale 0.8, sha256 cdcdcdcdcdcd… (3)" in card
    assert "12 samples share 6 prompts" in card
    for name in PERSON_27.names:
        assert f"| {name} |" in card

    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    from datasets import load_dataset

    data = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {name: len(split) for name, split in data.items()} == {"train": 10, "validation": 2}
    written = {s.meta.key: s for s in samples(12)}
    for row in [*data["train"], *data["validation"]]:
        meta = written[row["__key__"].rpartition("/")[2]].meta
        assert row["json"]["caption"] == meta.caption
        assert row["json"]["labels"] == meta.labels
        assert row["json"]["seed"] == meta.seed
        assert json.loads(row["json"]["measures_json"]) == meta.measures
        assert row["jpg"].size == (16, 32)
