"""What lint says of shards, index and manifest."""

import io
import json
import re
import shutil
import struct
import tarfile

import pytest

from pipeline.lint import lint
from pipeline.paths import RunPaths
from pipeline.tars import read_tar, write_tar
from tests.unit.pipeline.planting import rewrite_index, rewrite_record, rewrite_shard, texts


@pytest.fixture
def paths(finished_copy):
    return RunPaths(finished_copy / "run")


def swapped_splits(rows):
    """One sample of training and one of validation change places, so that all counts are as before."""
    first = [next(i for i, row in enumerate(rows) if row["split"] == split) for split in ("train", "val")]
    return [{**row, "split": rows[first[1 - first.index(i)]]["split"]} if i in first else row for i, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [{**rows[0], "image_offset": 5}, *rows[1:]], "offsets or lengths in the index"),
        (lambda rows: [{**rows[0], "sha256": "0"}, *rows[1:]], "sha256 in the index is not that of the contents"),
        (lambda rows: rows[1:], "but the index holds"),
        (swapped_splits, "the index says split 'train', which is not that of its shard"),
        (lambda rows: [*rows, rows[0]], "keys stand twice"),
        (lambda rows: [*rows, {**rows[0], "key": "000000099_00"}], "rows of one shard do not stand together"),
        (lambda rows: [{**rows[0], "key": "000000099_00"}, *rows[1:]], "lacks members that the index names: 000000099_00"),
        (lambda rows: [{**rows[0], "shard": "train-000009.tar"}, *rows[1:]], "do not name the same shards: train-000009.tar"),
    ],
)
def test_an_index_that_does_not_describe_the_tars_is_found(paths, change, message):
    rewrite_index(paths, change)
    assert any(message in text for text in texts(paths))


def promising(width, height):
    """The first picture with another size in its header."""

    def change(members):
        name, data = members[0]
        place = data.index(b"\xff\xc0") + 5  # start of frame: marker, length, depth, height, width
        return [(name, data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]), *members[1:]]

    return change


def changed_json(old, new):
    """Replace text in the JSON of the first sample."""
    return lambda members: [(n, d.replace(old, new) if n == members[1][0] else d) for n, d in members]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m[1:], r"lacks members that the index names: \d{9}_00\.jpg"),
        (lambda m: [*m, ("000000099_00.jpg", b"x")], r"holds members that the index does not name: 000000099_00\.jpg"),
        (lambda m: [m[0], *m], r"members stand twice: \d{9}_00\.jpg"),
        (lambda m: m[::-1], "members are not sorted"),
        (lambda m: [(m[0][0], m[0][1][:-30]), *m[1:]], r"\d{9}_00: the picture is a bad JPEG"),
        (lambda m: [(m[0][0], b"GIF89a no picture"), *m[1:]], r"\d{9}_00: the picture is no picture"),
        (promising(65500, 65500), r"\d{9}_00: the picture is a bad JPEG \(Image size \(4290250000 pixels\) exceeds limit"),
        (changed_json(b'"labels":[-1', b'"labels":[7'), r"labels out of range: \{'gender': 7\}"),
        (changed_json(b'"hat":-1', b'"hat":1'), "labels and named attributes differ"),
        (changed_json(b'"labels":[-1', b'"labels":[true'), r"labels out of range: \{'gender': True\}; accepted: 0, 1, -1"),
        (changed_json(b'"labels":[-1', b'"labels":[-1.0'), r"labels out of range: \{'gender': -1\.0\}; accepted: 0, 1, -1"),
        (changed_json(b'"hat":-1', b'"hat":-1.0'), "labels and named attributes differ"),
        (changed_json(b'"labels":[-1,', b'"labels":['), "26 labels for the 27 attributes"),
        (changed_json(b'"caption":"person', b'"caption":"" ,"x":"'), "its caption is empty"),
        (changed_json(b'"caption":"person', b'"caption":3 ,"x":"'), "caption is a int; accepted: str"),
        (changed_json(b'"captions":["person', b'"captions":["another'), "captions does not begin with caption"),
        (changed_json(b'],"prompt"', b',""],"prompt"'), "caption 2 of captions is ''; accepted: text with a word"),
        (changed_json(b'],"prompt"', b',null],"prompt"'), "caption 2 of captions is None; accepted: text with a word"),
        (changed_json(b'],"prompt"', b',"a \\ud83d"],"prompt"'), r"caption 2 of captions holds half a character"),
        (changed_json(b'"pid":', b'"pid":null,"was":'), "pid is a NoneType; accepted: int"),
        (changed_json(b'"pid":', b'"pid":true,"was":'), "pid True; accepted: a whole number"),
        (changed_json(b'"pid":', b'"pid":281474976710656,"was":'), "pid 281474976710656; accepted: a whole number below"),
        (changed_json(b'"measures":{', b'"measures":{"clip":NaN,"far":[1,-Infinity],'), r"measures\.clip nan, measures\.far 2 -inf: not"),
        (changed_json(b'"key":"0', b'"key":"\\udc800'), r"its JSON names key \\udc800"),
        (changed_json(b'"key":"0', b'"key":"9'), "its JSON names key 9"),
        (changed_json(b'"schema":1', b'"schema":99'), "schema 99, this version reads 1"),
        (changed_json(b"{", b"["), "not JSON"),
        (changed_json(b'"seed":', b'"seed":-1,"was":'), r"seed -1; accepted: a whole number from 0"),
        (changed_json(b'"seed":', b'"seed":true,"was":'), r"seed True; accepted: a whole number from 0"),
        (
            changed_json(b'"crop_xyxy_px":', b'"crop_xyxy_px":[9,0,0,9],"was":'),
            r"crop_xyxy_px \[9, 0, 0, 9\]; accepted: four whole",
        ),
        (
            changed_json(b'"crop_xyxy_px":', b'"crop_xyxy_px":[0,4,9,4],"was":'),
            r"crop_xyxy_px \[0, 4, 9, 4\]; accepted: four whole",
        ),
        (changed_json(b'"crop_xyxy_px":', b'"crop_xyxy_px":[0,0,9],"was":'), r"crop_xyxy_px \[0, 0, 9\]; accepted: four whole"),
        (changed_json(b'"view":null', b'"view":["front"]'), r"view \['front'\]; accepted: text or null"),
        (changed_json(b'"generator":', b'"generator":{},"was":'), "generator names no model"),
        (changed_json(b'"captioner":', b'"captioner":{"model":" "},"was":'), "captioner names no model"),
    ],
)
def test_planted_faults_of_a_shard_are_found_and_no_others(paths, change, message):
    rewrite_shard(paths, change)
    found = texts(paths)
    assert len(found) == 1, found
    assert found[0].startswith("shards/val-000000.tar: ")
    assert re.search(message, found[0])


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])
def test_a_member_that_is_no_plain_file_is_found_and_the_next_shard_is_read_too(paths, kind):
    rewrite_shard(paths, changed_json(b'"hat":-1', b'"hat":1'), "train-000000.tar")
    path = paths.stage("shard") / "val-000000.tar"
    members = list(read_tar(path))
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for number, member in enumerate(members):
            info = tarfile.TarInfo(member.name)
            if number == 2:
                info.type, info.linkname = kind, "nowhere"
            else:
                info.size = len(member.data)
            tar.addfile(info, io.BytesIO(member.data))
    found = texts(paths)
    assert any(f"val-000000.tar: member '{members[2].name}' is not a plain file" in text for text in found)
    assert any("train-000000.tar" in text and "attributes differ" in text for text in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m["attribute_space"]["attributes"][3].pop("prompts"), "attribute space is no attribute space"),
        (lambda m: m["attribute_space"]["attributes"][3].update(name="gender"), "has a name twice"),
        (lambda m: m["shards"]["val-000000.tar"].pop("sha256"), r"shards\.val-000000\.tar\.sha256 is missing"),
        (lambda m: m["shards"].update({"val-000000.tar": 7}), r"shards\.val-000000\.tar is a int; accepted: dict"),
        (lambda m: m.update(shards=["val-000000.tar"]), "shards is a list; accepted: dict"),
        (lambda m: m["split_counts"].update(val="2"), r"split_counts\.val is '2'; accepted: a whole number"),
        (lambda m: m["counts"].update(kept=True), "ledger does not balance|counts"),
        (lambda m: m["counts"].pop("seen"), "seen"),
        (lambda m: m.update(counts=None), "counts is a NoneType; accepted: dict"),
        (lambda m: m.pop("schema"), "schema is missing"),
    ],
)
def test_a_damaged_manifest_is_a_finding_beside_the_others(paths, change, message):
    paths.units("caption", 2, "parquet").unlink()
    file = paths.stage("shard") / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    rewrite_record(paths, "shard", 0)
    found = texts(paths)
    assert len(found) == 2, found
    assert found[0].endswith("does not exist")
    assert re.search(rf"^shards/manifest\.json: .*manifest\.json is not a shard manifest \(.*({message})", found[1])


def test_an_index_that_cannot_be_read_is_a_finding_of_a_folder_of_shards(paths, tmp_path):
    shutil.copytree(paths.stage("shard"), tmp_path / "copied")
    (tmp_path / "copied" / "index.parquet").write_bytes(b"junk")
    (finding,) = lint(RunPaths(tmp_path / "copied"))
    assert finding.file == "index.parquet"
    assert "not a readable Parquet file" in finding.text


@pytest.mark.parametrize("changes", [{"shard": "../train-000000.tar"}, {"shard": None}, {"key": None}, {"split": None}])
def test_index_rows_that_name_nothing_here_are_found(paths, changes):
    rewrite_index(paths, lambda rows: [*rows, {**rows[0], "key": "000000099_00", **changes}])
    assert any("1 rows whose key or split is no text, or whose shard is no name" in text for text in texts(paths))


def test_a_tar_that_cannot_be_opened_is_a_finding(paths):
    path = paths.stage("shard") / "val-000000.tar"
    path.unlink()
    path.mkdir()
    assert any(text == "shards/val-000000.tar: cannot be read (Is a directory)" for text in texts(paths))


def test_all_faults_of_a_shard_are_listed_and_the_next_shard_is_read_too(paths):
    rewrite_shard(paths, lambda m: [(n, d[:-30] if n.endswith("jpg") else d) for n, d in m])
    rewrite_shard(paths, changed_json(b'"hat":-1', b'"hat":1'), "train-000000.tar")
    found = texts(paths)
    assert sum("val-000000.tar" in text and "bad JPEG" in text for text in found) == 2
    assert sum("train-000000.tar" in text and "attributes differ" in text for text in found) == 1


def test_pictures_are_not_decoded_where_that_is_not_wanted(paths):
    rewrite_shard(paths, lambda m: [(m[0][0], m[0][1][:-30]), *m[1:]])
    assert lint(paths, decode=False) == []


def test_a_changed_shard_has_another_sha256_than_the_manifest_says(paths):
    path = paths.stage("shard") / "val-000000.tar"
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    found = texts(paths)
    assert "shards/val-000000.tar: its size or sha256 is not the one in the manifest" in found
    assert any("its sha256 is not the one in the done record" in text for text in found)
    assert any("sha256 in the index is not that of the contents" in text for text in found)


def test_several_processes_find_the_same(paths):
    rewrite_shard(paths, changed_json(b'"hat":-1', b'"hat":1'))
    assert lint(paths, jobs=2) == lint(paths)


def test_a_folder_of_shards_alone_is_checked(paths, tmp_path):
    shutil.copytree(paths.stage("shard"), tmp_path / "copied")
    assert lint(RunPaths(tmp_path / "copied")) == []
    (tmp_path / "copied" / "val-000000.tar").unlink()
    assert [f.text for f in lint(RunPaths(tmp_path / "copied"))] == [
        "manifest, index and folder do not name the same shards: val-000000.tar"
    ]


def test_a_truncated_shard_is_found(paths):
    path = paths.stage("shard") / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    assert any("is not a whole tar file" in text for text in texts(paths))


def test_a_shard_that_the_manifest_does_not_know_is_found(paths):
    write_tar(paths.stage("shard") / "train-000007.tar", [])
    assert any("do not name the same shards: train-000007.tar" in text for text in texts(paths))
