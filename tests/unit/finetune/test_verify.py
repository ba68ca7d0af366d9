"""`verify-data` names what is missing, wrong or leaked, and nothing else."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from finetune.cli import finetune
from finetune.verify import verify

PEOPLE = {"train": ("1", "2"), "val": ("3",), "test": ("4",)}


@pytest.fixture
def folder(tmp_path) -> Path:
    entries = []
    for number, (split, people) in enumerate(PEOPLE.items()):
        for person in people:
            name = f"{split}/{person}.jpg"
            path = tmp_path / "imgs" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (4, 8), (40 * number, 30 * int(person), 9)).save(path)
            entries.append({"split": split, "id": int(person), "img_path": name, "captions": [f"person {person}", f"{person} walks"]})
    (tmp_path / "data_captions.json").write_text(json.dumps(entries))
    return tmp_path


def kinds(folder: Path) -> set[tuple[str, str]]:
    return {(f.kind, f.split) for f in verify("rstpreid", folder).findings if f.kind != "count"}


def edit(folder: Path, number: int, **fields) -> None:
    path = folder / "data_captions.json"
    entries = json.loads(path.read_text())
    entries[number] |= fields
    path.write_text(json.dumps(entries))


def test_counts_are_compared_with_the_published_ones(folder):
    verdict = verify("rstpreid", folder)
    assert verdict.counts["train"] == {"images": 2, "captions": 4, "identities": 2}
    texts = [f.text for f in verdict.findings]
    assert any("has 2 images, published are 18505" in text for text in texts)
    assert len(texts) == 9
    assert not verdict.sound


def test_a_missing_picture_is_named_with_its_folder(folder):
    (folder / "imgs" / "val" / "3.jpg").unlink()
    finding = next(f for f in verify("rstpreid", folder).findings if f.kind == "missing_picture")
    assert f"belong into {folder / 'imgs'}: val/3.jpg" in finding.text


def test_a_picture_cut_short_is_named(folder):
    path = folder / "imgs" / "train" / "1.jpg"
    path.write_bytes(path.read_bytes()[:200])
    assert kinds(folder) == {("unreadable_picture", "train")}


def test_the_same_person_in_two_splits_is_a_leak(folder):
    edit(folder, 3, id=1)
    assert kinds(folder) == {("leak_identity", "train+test")}


def test_the_same_bytes_in_two_splits_are_a_leak(folder):
    shutil.copy(folder / "imgs" / "train" / "1.jpg", folder / "imgs" / "test" / "4.jpg")
    finding = next(f for f in verify("rstpreid", folder).findings if f.kind == "leak_content")
    assert "train/1.jpg = test/4.jpg" in finding.text


def test_the_same_picture_in_two_splits_is_a_leak(folder):
    edit(folder, 2, img_path="train/1.jpg")
    assert {("leak_name", "train+val"), ("leak_content", "train+val")} == kinds(folder)


def test_a_shared_caption_is_a_note(folder):
    edit(folder, 3, captions=["person 1"])
    findings = [f for f in verify("rstpreid", folder).findings if f.kind == "leak_caption"]
    assert [(f.split, f.harm) for f in findings] == [("train+test", False)]


def test_an_empty_folder_says_what_belongs_there(tmp_path):
    verdict = verify("pa-100k", tmp_path)
    assert [f.kind for f in verdict.findings] == ["bad_annotation"] * 3
    assert f"{tmp_path / 'annotation.mat'} (as published)" in verdict.findings[0].text


def test_the_command_answers_in_json_and_by_its_exit_code(folder, miniature):
    done = CliRunner().invoke(finetune, ["verify-data", "rstpreid", str(folder), "--json"], standalone_mode=False)
    answer = json.loads(done.stdout)
    assert done.return_value == 1
    assert answer["counts"]["val"]["captions"] == 2
    assert {f["kind"] for f in answer["findings"]} == {"count"}
    done = CliRunner().invoke(finetune, ["verify-data", "challenge", str(miniature)], standalone_mode=False)
    assert done.return_value == 1  # a miniature has not the published counts
    assert "count (train)" in done.stdout
    assert "leak" not in done.stdout


def test_ones_own_sound_folder_is_sound(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "captions.csv").write_text("image,caption\na.png,nobody\n")
    verdict = verify("own", tmp_path)
    assert verdict.sound
    assert verdict.findings == ()


def test_a_line_that_says_what_its_bits_deny_is_found(miniature: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(miniature, data)
    path = data / "train" / "train_label.txt"
    lines = path.read_text().splitlines()
    number = next(i for i, line in enumerate(lines) if "$1," in line)
    lines[number] = lines[number].replace("$1,", "$0,")  # a woman by her text, a man by his bits
    path.write_text("\n".join(lines) + "\n")
    wrong = [finding for finding in verify("challenge", data, pictures=False).findings if finding.kind == "wrong_bits"]
    assert [finding.split for finding in wrong] == ["train"]
    assert f"1 bits of {path} are 0" in wrong[0].text
    assert f"{lines[number].split('$')[0]} female" in wrong[0].text


@pytest.mark.parametrize("text", ["", "image,caption\n"])
def test_a_table_without_lines_is_not_sound(tmp_path: Path, text: str) -> None:
    (tmp_path / "captions.csv").write_text(text)
    assert not verify("own", tmp_path).sound
