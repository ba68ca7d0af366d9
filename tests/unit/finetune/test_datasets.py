"""Readers of the person benchmarks, PA-100K and one's own files: both published forms give the same records, bad entries are named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from finetune import tasks
from finetune.config import DataConfig
from finetune.datasets.catalog import data_set
from finetune.datasets.challenge_records import read_challenge
from finetune.datasets.pa100k import PA_26, read_pa100k
from finetune.datasets.person import CUHK_PEDES, ICFG_PEDES, RSTPREID
from finetune.datasets.records import Record, safe_name
from pipeline.contracts.errors import ConfigError, ContractError

RAW = [
    {"split": "train", "id": 1, "file_path": "cam_a/1.jpg", "captions": ["a man in red", "a tall man"], "processed_tokens": []},
    {"split": "train", "id": 1, "file_path": "cam_a/2.jpg", "captions": ["a man in red"], "processed_tokens": []},
    {"split": "test", "id": 2, "file_path": "cam_b/3.jpg", "captions": ["a woman"], "processed_tokens": []},
]
TRAIN = (
    Record(image="cam_a/1.jpg", identity="1", captions=("a man in red", "a tall man")),
    Record(image="cam_a/2.jpg", identity="1", captions=("a man in red",)),
)


def write(path: Path, data) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def test_raw_and_processed_files_give_the_same_records(tmp_path):
    write(tmp_path / "raw" / "reid_raw.json", RAW)
    entries = [{"image": r.image, "caption": c, "image_id": int(r.identity)} for r in TRAIN for c in r.captions]
    write(tmp_path / "processed" / "cuhk_train.json", entries)
    write(tmp_path / "processed" / "cuhk_test.json", [{"image": "cam_b/3.jpg", "caption": ["a woman"], "image_id": 2}])
    assert CUHK_PEDES.read(tmp_path / "raw", "train").records == TRAIN
    assert CUHK_PEDES.read(tmp_path / "processed", "train").records == TRAIN
    assert CUHK_PEDES.read(tmp_path / "raw", "test").records == CUHK_PEDES.read(tmp_path / "processed", "test").records


def test_a_caption_that_is_given_twice_counts_twice_in_both_forms(tmp_path):
    write(tmp_path / "raw" / "reid_raw.json", [{"split": "train", "id": 1, "file_path": "a.jpg", "captions": ["same", "same"]}])
    write(tmp_path / "processed" / "cuhk_train.json", [{"image": "a.jpg", "image_id": 1, "caption": "same"}] * 2)
    for form in ("raw", "processed"):
        assert CUHK_PEDES.read(tmp_path / form, "train").records == (Record(image="a.jpg", identity="1", captions=("same", "same")),)


def test_rstpreid_names_its_pictures_otherwise(tmp_path):
    entry = {"id": 0, "img_path": "0000_c14_0031.jpg", "captions": ["one", "two"], "split": "val"}
    write(tmp_path / "data_captions.json", [entry])
    record = RSTPREID.read(tmp_path, "val").records[0]
    assert (record.identity, record.captions) == ("0", ("one", "two"))


def test_icfg_has_no_validation_split(tmp_path):
    write(tmp_path / "ICFG-PEDES.json", RAW)
    assert len(ICFG_PEDES.read(tmp_path, "train").records) == 2
    with pytest.raises(ContractError, match="ICFG-PEDES has no val split"):
        ICFG_PEDES.read(tmp_path, "val")


@pytest.mark.parametrize("root", ["imgs", "images/CUHK-PEDES", "CUHK-PEDES/imgs", "."])
def test_pictures_are_looked_for_where_published_archives_put_them(tmp_path, root):
    write(tmp_path / "reid_raw.json", RAW)
    write(tmp_path / root / "cam_a" / "2.jpg", "x")
    assert CUHK_PEDES.read(tmp_path, "train").images.resolve() == (tmp_path / root).resolve()


def changed(**fields):
    return [RAW[0], {**RAW[1], **fields}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (changed(split="training"), "entry 2: split 'training'; accepted: train, val, test"),
        (changed(id=None), "entry 2: field 'id' is None"),
        (changed(captions=[]), r"entry 2: field 'captions' is \[\]"),
        (changed(captions=["a", " "]), "entry 2: caption ' '"),
        (changed(file_path="../../etc/passwd"), "entry 2: picture '../../etc/passwd' would lie outside"),
        (changed(file_path="/a.jpg"), "entry 2: picture '/a.jpg' would lie outside"),
        (changed(file_path=""), "entry 2: field 'file_path' is ''; accepted: a str that is not empty"),
        (changed(file_path=".."), "entry 2: picture '..' would lie outside"),
        (changed(file_path="cam_a/1.jpg", id=9), "picture 'cam_a/1.jpg' is given with identity '1' and '9'"),
        ([RAW[0], 7], "entry 2 is a int"),
        ({"a": 1}, "holds a dict"),
        ([], "holds an empty list"),
        ("[1,", "not readable JSON"),
        ([RAW[2]], "no entry of the train split"),
    ],
)
def test_a_bad_annotation_file_is_refused_by_entry_and_field(tmp_path, data, message):
    write(tmp_path / "reid_raw.json", data)
    with pytest.raises(ContractError, match=message):
        CUHK_PEDES.read(tmp_path, "train")


def test_an_absent_annotation_file_says_where_it_belongs(tmp_path):
    with pytest.raises(ContractError, match=r"found neither .*/reid_raw.json .* nor .*/cuhk_train.json"):
        CUHK_PEDES.read(tmp_path, "train")


def cells(values) -> np.ndarray:
    array = np.empty((len(values), 1), dtype=object)
    array[:, 0] = values
    return array


def write_mat(folder: Path, names, labels, **changes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fields = {"attributes": cells(names)}
    for split in ("train", "val", "test"):
        fields |= {f"{split}_images_name": cells([f"{split}_{i}.jpg" for i in range(len(labels))]), f"{split}_label": labels}
    savemat(folder / "annotation.mat", fields | changes)


def test_pa100k_columns_are_matched_by_name(tmp_path):
    labels = np.random.default_rng(0).integers(0, 2, (3, 26)).astype(np.uint8)
    order = list(reversed(PA_26.names))
    write_mat(tmp_path / "straight", list(PA_26.names), labels)
    write_mat(tmp_path / "reversed", order, labels[:, ::-1])
    one, other = (read_pa100k(tmp_path / name, "val") for name in ("straight", "reversed"))
    assert one.records == other.records
    assert [r.labels for r in one.records] == [tuple(row) for row in labels.tolist()]
    assert one.records[0].image == "val_0.jpg"
    assert one.space is PA_26


def test_pa100k_as_json_gives_what_the_mat_gives(tmp_path):
    labels = np.random.default_rng(1).integers(0, 2, (2, 26))
    write_mat(tmp_path / "mat", list(PA_26.names), labels)
    write(tmp_path / "json" / "PA100K_test.json", [{"image": f"test_{i}.jpg", "label": row} for i, row in enumerate(labels.tolist())])
    assert read_pa100k(tmp_path / "mat", "test").records == read_pa100k(tmp_path / "json", "test").records


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"attributes": cells(["Tall", *PA_26.names[1:]])}, "attributes Female, Tall differ from PA-100K's 26"),
        ({"train_label": np.zeros((3, 25))}, r"train_label has shape \(3, 25\)"),
        ({"train_label": np.full((3, 26), 2)}, r"train_label holds \[2\]"),
    ],
)
def test_a_mat_file_of_another_form_is_refused(tmp_path, changes, message):
    write_mat(tmp_path, list(PA_26.names), np.zeros((3, 26)), **changes)
    with pytest.raises(ContractError, match=message):
        read_pa100k(tmp_path, "train")


def test_a_file_that_is_not_matlabs_and_labels_of_another_length_are_refused(tmp_path):
    write(tmp_path / "a" / "annotation.mat", "hello")
    with pytest.raises(ContractError, match="no readable MATLAB file"):
        read_pa100k(tmp_path / "a", "train")
    write(tmp_path / "b" / "pa100k_train.json", [{"image": "1.jpg", "label": [1] * 25}])
    with pytest.raises(ContractError, match=r"entry 1: label .* accepted: 26 values"):
        read_pa100k(tmp_path / "b", "train")


def test_ones_own_table_and_jsonl_give_the_same_records(tmp_path):
    rows = [("a.jpg", "a man, tall", "7", "train"), ("a.jpg", "a tall man", "7", "train"), ("b.jpg", 'a "woman"', "", "")]
    header, quoted = ("image", "caption", "identity", "split"), '"a ""woman"""'
    for form, mark, first in (("csv", ",", '"a man, tall"'), ("tsv", "\t", "a man, tall")):
        cells = [header, ("a.jpg", first, "7", "train"), ("a.jpg", "a tall man", "7", "train"), ("b.jpg", quoted, "", "")]
        captions = ("captions", "", "", "")  # an empty cell is none, as null is
        write(tmp_path / form / f"captions.{form}", "".join(mark.join((*row, c)) + "\n" for row, c in zip(cells, captions, strict=True)))
    lines = [{"image": i, "caption": c, "captions": None} | ({"identity": p, "split": s} if p else {}) for i, c, p, s in rows]
    write(tmp_path / "jsonl" / "captions.jsonl", "\n".join(map(json.dumps, lines)) + "\n")
    own = data_set("own")
    expected = (Record(image="a.jpg", identity="7", captions=("a man, tall", "a tall man")),)
    for form in ("csv", "tsv", "jsonl"):
        assert own.read(tmp_path / form, "train").records == expected
        assert own.read(tmp_path / form, "test").records == (Record(image="b.jpg", identity="b.jpg", captions=('a "woman"',)),)
        assert own.splits(tmp_path / form) == ("train", "test")


def labelled(*rows: list[int] | None) -> str:
    return "\n".join(json.dumps({"image": "a.jpg", "caption": "x"} | ({"labels": row} if row else {})) for row in rows) + "\n"


def test_each_line_of_a_picture_may_state_some_of_its_labels(tmp_path):
    named = [{"name": name, "prompts": [f"no {name}", name]} for name in ("hat", "coat", "bag")]
    write(tmp_path / "attributes.json", {"name": "three", "attributes": named})
    write(tmp_path / "captions.jsonl", labelled(None, [-1, 1, -1], [0, 1, -1]))
    assert data_set("own").read(tmp_path, "test").records[0].labels == (0, 1, -1)
    write(tmp_path / "captions.jsonl", labelled([0.0, 1.0, -1.0]))  # as pandas writes whole numbers
    labels = data_set("own").read(tmp_path, "test").records[0].labels
    assert (labels, set(map(type, labels))) == ((0, 1, -1), {int})
    write(tmp_path / "captions.jsonl", labelled([0, 1, -1], [0, 0, -1]))
    with pytest.raises(ContractError, match=r"picture 'a\.jpg' is given with label 1 \(counted from 0\) as 0 and as 1"):
        data_set("own").read(tmp_path, "test")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("captions.csv", "image,caption\na.jpg\n", "line 2 has not 2 cells"),
        ("captions.csv", "image,caption\na.jpg,x,y\n", "line 2 has not 2 cells"),
        ("captions.csv", "image,text\na.jpg,x\n", "line 2: unknown fields text"),
        ("captions.csv", "image,caption\na.jpg,\n", "line 2: field 'caption' is ''"),
        ("captions.csv", "image,caption,split\na.jpg,x,dev\n", "line 2: split 'dev'; accepted: train, val, test"),
        ("captions.jsonl", '{"image": "a.jpg", "caption": "x"}\n{', "line 2 is not JSON"),
        ("captions.jsonl", '{"image": "a.jpg", "captions": ["x", 3]}', "line 1: caption 3"),
        ("captions.jsonl", "[1]", "line 1 is a list"),
        ("captions.jsonl", '{"image": "a.jpg", "caption": "x", "kind": "cat"}', "line 1: kind 'cat'"),
    ],
)
def test_a_bad_line_of_ones_own_file_is_named(tmp_path, name, text, message):
    write(tmp_path / name, text)
    with pytest.raises(ContractError, match=message):
        data_set("own").read(tmp_path, "test")


def test_the_challenges_lines_become_the_same_kind_of_record(miniature):
    split = read_challenge(miniature, "train")
    person = next(r for r in split.records if r.kind == "pedestrian")
    vehicle = next(r for r in split.records if r.kind == "vehicle")
    assert set(person.labels) == {0, 1}
    assert set(vehicle.labels) == {-1}
    assert read_challenge(miniature, "test").num_captions == 12


def test_an_unknown_data_set_is_refused():
    with pytest.raises(ConfigError, match="accepted: cuhk-pedes, icfg-pedes"):
        data_set("cuhk")


def test_pictures_of_pa100k_that_are_not_there_are_named_before_a_training_begins(people, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(people, root)
    data = DataConfig(name="pa-100k", folder=str(root))
    assert len(tasks.test_task(data).records) == 2
    (root / "test_1.jpg").unlink()
    with pytest.raises(ContractError, match=r"lacks 1 of the 2 pictures that .*pa100k_test\.json names, the first is test_1\.jpg"):
        tasks.test_task(data)


@pytest.mark.parametrize("name", ["", ".."])
def test_a_name_that_names_no_picture_is_refused(name):
    with pytest.raises(ContractError, match="would lie outside the picture folder"):
        safe_name(name, "list.mat: row 3")
