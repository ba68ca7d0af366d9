"""What a user can get wrong with data, checkpoints and indices: one clear error each, exit code 2, nothing half-written."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from finetune.cli import main as finetune
from finetune.config import FinetuneConfig
from finetune.datasets.challenge import gold_path, images_folder, labels_path, queries_path
from finetune.methods.start import start_method
from finetune.search.index import build_index
from pipeline.config import build
from tests.integration.test_bad_input import REFUSED, Shell
from tests.unit.finetune.conftest import MODEL
from tests.unit.finetune.test_methods import lines_of, recipe
from tests.unit.finetune.tiny_models import CLIP

CPU = torch.device("cpu")


def aptm_tree(miniature: Path, out: Path) -> dict:
    small = {"train": {"steps": 1, "global_batch": 4}, "engine": {"kind": "torch", "device": "cpu"}}
    return {"out": str(out), "data": {"folder": str(miniature)}, "model": MODEL, **small}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, miniature) -> Path:
    """Whole checkpoints of random weights: aptm, irra, blip."""
    root = tmp_path_factory.mktemp("checkpoints")
    configs = {"aptm": build(FinetuneConfig, aptm_tree(miniature, root / "unused"), "test")}
    configs |= {name: recipe(name, miniature, root / "unused") for name in ("irra", "blip")}
    for name, config in configs.items():
        start_method(config, lines_of(config), CPU).save(root / name, {})
    return root


@pytest.fixture(scope="module")
def index(tmp_path_factory, miniature, checkpoints) -> Path:
    out = tmp_path_factory.mktemp("index") / "index"
    shutil.copytree(images_folder(miniature, "test"), out.parent / "pictures")
    build_index(out.parent / "pictures", checkpoints / "aptm", out, "cpu", lambda line: None)
    return out


@dataclass(frozen=True)
class Place:
    """Copies that a case may damage."""

    folder: Path
    data: Path
    checkpoints: Path
    index: Path

    def recipe(self, **changes) -> Path:
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(aptm_tree(self.data, self.folder / "out") | changes))
        return path

    def irra(self, **changes) -> Path:
        small = {"train": {"steps": 1, "global_batch": 4}, "engine": {"kind": "torch", "device": "cpu"}}
        tree = {"method": "irra", "out": str(self.folder / "out"), "data": {"folder": str(self.data)}, "model": {"clip": CLIP}, **small}
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(tree | changes))
        return path

    def halve(self, name: str) -> Path:
        """A checkpoint without its second half of tensors."""
        path = self.checkpoints / name / "model.safetensors"
        state = load_file(path)
        save_file({key: state[key] for key in sorted(state)[: len(state) // 2]}, path)
        return path.parent


@pytest.fixture
def place(tmp_path, miniature, checkpoints, index) -> Place:
    copies = tmp_path / "copies"
    for name, source in (("data", miniature), ("checkpoints", checkpoints), ("index", index)):
        shutil.copytree(source, copies / name)
    return Place(tmp_path, copies / "data", copies / "checkpoints", copies / "index")


Case = Callable[[Place], tuple[object, ...]]


def wrong_bits(place: Place) -> tuple[object, ...]:
    path = labels_path(place.data, "train")
    path.write_text(path.read_text().replace("$0,", "$2,", 1).replace("$1,", "$2,", 1))
    return "train", "--config", place.recipe()


def missing_picture(split: str) -> Case:
    def case(place: Place) -> tuple[object, ...]:
        next(images_folder(place.data, split).iterdir()).unlink()
        return ("train", "--config", place.recipe())

    return case


def unreadable_picture(place: Place) -> tuple[object, ...]:
    for path in images_folder(place.data, "train").iterdir():
        path.write_bytes(b"no picture")
    return "train", "--config", place.recipe()


def half_checkpoint(name: str) -> Case:
    return lambda place: ("challenge", "predict", place.halve(name), "--data", place.data, "--out", place.folder / "s.json")


def half_start(place: Place) -> tuple[object, ...]:
    return "train", "--config", place.recipe(model=None, init={"checkpoint": str(place.halve("aptm"))})


def half_irra_start(place: Place) -> tuple[object, ...]:
    return "train", "--config", place.irra(model={}, init={"checkpoint": str(place.halve("irra"))})


def truncated_checkpoint(place: Place) -> tuple[object, ...]:
    path = place.checkpoints / "irra" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    return "challenge", "predict", path.parent, "--data", place.data, "--out", place.folder / "s.json"


def another_method(place: Place) -> tuple[object, ...]:
    return "train", "--config", place.irra(model={}, init={"checkpoint": str(place.checkpoints / "blip")})


def labels_of_another_space(place: Place) -> tuple[object, ...]:
    folder = place.folder / "own"
    (folder / "images").mkdir(parents=True)
    (folder / "attributes.json").write_text(json.dumps({"name": "two", "attributes": [named("hat"), named("coat")]}))
    (folder / "captions.jsonl").write_text(json.dumps({"image": "a.jpg", "caption": "a man", "split": "train", "labels": [1, 0, 1]}) + "\n")
    return "train", "--config", place.recipe(data={"name": "own", "folder": str(folder)})


def named(name: str) -> dict:
    return {"name": name, "prompts": [f"without a {name}", f"with a {name}"]}


def no_attributes(place: Place) -> tuple[object, ...]:
    (place.folder / "images").mkdir()
    picture, lines = next(images_folder(place.data, "test").iterdir()), []
    for split in ("train", "val"):
        shutil.copy(picture, place.folder / "images" / f"{split}.jpg")
        lines.append(json.dumps({"image": f"{split}.jpg", "caption": "a man", "split": split}))
    (place.folder / "captions.jsonl").write_text("\n".join(lines) + "\n")
    return "train", "--config", place.irra(data={"name": "own", "folder": str(place.folder)}, objective={"irm": 1.0})


def another_resolution(place: Place) -> tuple[object, ...]:
    taller = MODEL | {"vision": MODEL["vision"] | {"height": 64}}
    return "train", "--config", place.recipe(model=taller, init={"checkpoint": str(place.checkpoints / "aptm")})


def uneven_patches(place: Place) -> tuple[object, ...]:
    return "train", "--config", place.irra(model={"clip": CLIP | {"height": 30}})


def index_of_another_model(place: Place) -> tuple[object, ...]:
    facts = json.loads((place.index / "index.json").read_text())
    (place.index / "index.json").write_text(json.dumps(facts | {"checkpoint": str(place.checkpoints / "irra")}))
    return "search", "a man", "--index", place.index, "--device", "cpu"


def empty_gallery(place: Place) -> tuple[object, ...]:
    for path in images_folder(place.data, "test").iterdir():
        path.unlink()
    return "challenge", "predict", place.checkpoints / "aptm", "--data", place.data, "--out", place.folder / "s.json"


def small_gallery(place: Place) -> tuple[object, ...]:
    gold_path(place.data).unlink()
    for path in sorted(images_folder(place.data, "test").iterdir())[3:]:
        path.unlink()
    return "challenge", "predict", place.checkpoints / "aptm", "--data", place.data, "--out", place.folder / "s.json"


def nothing_to_index(place: Place) -> tuple[object, ...]:
    (place.folder / "empty").mkdir()
    return "index", place.folder / "empty", "--checkpoint", place.checkpoints / "aptm", "--out", place.folder / "i"


def query_without_positive(place: Place) -> tuple[object, ...]:
    path = gold_path(place.data)
    text, *rest = path.read_text().splitlines()
    path.write_text("\n".join([text.split("$")[0], *rest]) + "\n")
    return "evaluate", "--config", place.recipe(), "--checkpoint", place.checkpoints / "aptm", "--split", "test"


def empty_query(place: Place) -> tuple[object, ...]:
    path = queries_path(place.data)
    path.write_text("\n" + path.read_text())
    return "challenge", "predict", place.checkpoints / "aptm", "--data", place.data, "--out", place.folder / "s.json"


def unknown_filter(place: Place) -> tuple[object, ...]:
    return "search", "a man", "--index", place.index, "--filter", "hats=1", "--device", "cpu"


def filters_that_exclude_each_other(place: Place) -> tuple[object, ...]:
    return "search", "a man", "--index", place.index, "--filter", "hat=1", "--filter", "hat=0"


def damaged_index(name: str) -> Case:
    def case(place: Place) -> tuple[object, ...]:
        (place.index / name).write_bytes(b"{}")
        return "search", "a man", "--index", place.index, "--device", "cpu"

    return case


def half_to_index(place: Place) -> tuple[object, ...]:
    return "index", images_folder(place.data, "test"), "--checkpoint", place.halve("aptm"), "--out", place.folder / "out" / "checkpoint"


def half_to_give_away(place: Place) -> tuple[object, ...]:
    return "export", place.halve("irra"), "--out", place.folder / "out" / "checkpoint" / "given"


def unknown_device(place: Place) -> tuple[object, ...]:
    return "search", "a man", "--index", place.index, "--device", "gpu"


CASES: dict[str, tuple[Case, str]] = {
    "wrong bits": (wrong_bits, "bit_value: bit 0 (female) is '2', accepted: 0 or 1"),
    "missing training picture": (missing_picture("train"), "lacks 1 of the 27 pictures"),
    "missing validation picture": (missing_picture("val"), "lacks 1 of the 12 pictures"),
    "unreadable picture": (unreadable_picture, "not a readable picture"),
    "half a checkpoint of APTM": (half_checkpoint("aptm"), "missing"),
    "half a checkpoint of IRRA": (half_checkpoint("irra"), "must hold the whole model"),
    "half a checkpoint of BLIP": (half_checkpoint("blip"), "must hold the whole model"),
    "half a checkpoint to start from": (half_start, "missing"),
    "half an IRRA to start from": (half_irra_start, "init.least_loaded=0.95 asks for more"),
    "a file cut short": (truncated_checkpoint, "is not a readable safetensors file"),
    "a checkpoint of another method": (another_method, "describes architecture 'blip'; this recipe reads 'irra'"),
    "labels of another attribute space": (labels_of_another_space, "line 1: 3 labels; accepted: the 2 attributes of attributes.json"),
    "a loss on attributes that are not there": (no_attributes, "need attributes; data set own has none"),
    "another resolution than the checkpoint's": (another_resolution, "leave `model` out"),
    "a height that patches do not fill": (uneven_patches, "patch"),
    "an index of another model": (index_of_another_model, "holds features of 8 numbers, the model gives 64"),
    "an empty gallery": (empty_gallery, "holds no .jpg"),
    "a gallery of three": (small_gallery, "holds 3 pictures; a submission names 10 different ones"),
    "nothing to index": (nothing_to_index, "holds no pictures"),
    "a query without a positive": (query_without_positive, "accepted: text$image$image..."),
    "an empty query": (empty_query, "line 1 is empty"),
    "an unknown attribute to filter by": (unknown_filter, "unknown attributes hats"),
    "filters that exclude each other": (filters_that_exclude_each_other, "no picture has both"),
    "an index with damaged features": (damaged_index("features.npy"), "index/features.npy is damaged or missing; delete"),
    "an index with a damaged FAISS file": (damaged_index("index.faiss"), "index/index.faiss is damaged or missing; delete"),
    "an index with damaged facts": (damaged_index("index.json"), "index/index.json is damaged or missing; delete"),
    "half a checkpoint to index with": (half_to_index, "missing"),
    "half a checkpoint to give away": (half_to_give_away, "must hold the whole model"),
    "an unknown device": (unknown_device, "device 'gpu'; accepted: auto, cpu, cuda"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_one_clear_error(name: str, place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    case, message = CASES[name]
    code, text = Shell(place.folder, capsys)(finetune, *case(place))
    assert code == REFUSED, text
    assert message in text
    assert text.count("Error:") == 1
    assert not [path for path in place.folder.rglob("*") if ".tmp" in path.name]
    assert not list(place.folder.glob("out/checkpoint/*")), "nothing was trained"
    assert not (place.folder / "s.json").exists()


def test_an_unreadable_picture_of_a_gallery_is_counted_and_skipped(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = images_folder(place.data, "test")
    (pictures / "broken.png").write_bytes(b"no picture")
    arguments = ("index", pictures, "--checkpoint", place.checkpoints / "aptm", "--out", place.folder / "i", "--device", "cpu", "--json")
    with pytest.raises(SystemExit) as ended:
        finetune([str(argument) for argument in arguments])
    assert not ended.value.code
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["skipped"]) == (12, 1)
