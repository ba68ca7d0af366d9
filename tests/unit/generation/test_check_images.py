"""Verdicts on a folder of pictures, and on the published examples where they are at hand."""

import json
from pathlib import Path

import pytest

from generation.check_images import check_folder
from generation.config import FilterConfig
from generation.images import encode_jpeg
from pipeline.contracts.errors import ContractError
from tests.unit.generation.figures import figure

IN_PROCESS = FilterConfig(num_workers=0)


def test_published_examples_are_judged_as_published(shared: Path) -> None:
    folder = shared / "data" / "mals_examples"
    wanted = {record["file"]: record["verdict"] for record in json.loads((folder / "labels.json").read_text(encoding="utf-8"))}
    found = {row["file"]: row["verdict"] for row in check_folder(folder, IN_PROCESS)}
    assert found.keys() == wanted.keys()
    assert all(found[name] == "keep" for name, verdict in wanted.items() if verdict == "keep")
    assert sum(found[name] == "drop" for name, verdict in wanted.items() if verdict == "drop") >= 9


def test_check_folder_has_a_verdict_on_links_to_nowhere_and_none_on_folders(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    rows = list(check_folder(tmp_path, IN_PROCESS))
    assert [(row["file"], row["verdict"], row["reason"]) for row in rows] == [("link.png", "drop", "corrupt_image")]


def test_check_folder_gives_a_row_for_every_picture(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").write_bytes(encode_jpeg(figure(3), 95))
    (tmp_path / "a.png").write_bytes(b"broken")
    (tmp_path / "notes.txt").write_text("no picture")
    rows = list(check_folder(tmp_path, IN_PROCESS))
    assert [(r["file"], r["verdict"], r["reason"]) for r in rows] == [("a.png", "drop", "corrupt_image"), ("b.jpg", "keep", None)]
    assert rows[1]["measures"]["num_persons"] == 1


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match="holds no picture"):
        list(check_folder(tmp_path, IN_PROCESS))
    with pytest.raises(ContractError, match="is not a folder"):
        list(check_folder(tmp_path / "none", IN_PROCESS))
