"""A pre-trained checkpoint scored as it is on benchmark folders: `passerby evaluate RECIPE --checkpoint FOLDER`."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from finetune.cli import main
from pipeline.config import build, dump_yaml
from pipeline.hand_over import evaluation_module
from pretrain import checkpoint
from pretrain.augment import normalise
from pretrain.config import PretrainConfig
from pretrain.parity.matrix import fuse, shortlist_scores, similarity_matrix
from pretrain.pictures import decode_resized
from pretrain.retrieval.encode import encode_images, encode_texts
from pretrain.settings import AugmentConfig
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import build_model
from tests.unit.finetune.conftest import MODEL

ROOT = Path(__file__).parents[3]
PERSONS, PICTURES = 5, 3
LAYOUTS = {
    "cuhk-pedes": ("reid_raw.json", "file_path"),
    "icfg-pedes": ("ICFG-PEDES.json", "file_path"),
    "rstpreid": ("data_captions.json", "img_path"),
}
WORDS = ("red", "blue", "green", "black", "white")


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pretrain` saves; random weights, but no two texts or pictures are alike to it."""
    folder = tmp_path_factory.mktemp("pretrained") / "checkpoint"
    tree = {"out": "o", "data": {"shards": "s"}, "model": {**MODEL, "vision": {**MODEL["vision"], "init_std": 0.3}}}
    tokenizer = CaptionTokenizer(EMBEDDED_VOCAB)
    checkpoint.save_model(folder, build_model(build(PretrainConfig, tree, "test"), tokenizer), tokenizer, {"step": 3})
    return folder


def _entries() -> list[tuple[str, str, str, list[str]]]:
    """(split, person, picture, captions); several pictures a person, one or two captions a picture."""
    found = []
    for start, split in ((0, "train"), (100, "val"), (200, "test")):
        for person, number in itertools.product(range(PERSONS), range(PICTURES)):
            captions = [f"a person in {WORDS[person]} number {number}", "a tall man"][: 1 + number % 2]
            found.append((split, f"{start + person}", f"{split}/{person}_{number}.jpg", captions))
    return found


def _benchmark(root: Path, name: str) -> None:
    """The test entries in the layout of their publishers, with pictures of noise."""
    rng = np.random.default_rng(1)
    images = root / {"cuhk-pedes": "imgs", "icfg-pedes": "imgs", "rstpreid": "imgs", "own": "images"}[name]
    for _, _, picture, _ in _entries():
        (images / picture).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (40, 20, 3), dtype=np.uint8)).save(images / picture)
    if name == "own":
        rows = [{"image": p, "captions": c, "identity": i, "split": s} for s, i, p, c in _entries()]
        (root / "captions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return
    file, field = LAYOUTS[name]
    rows = [{"split": s, "id": int(i), field: p, "captions": c} for s, i, p, c in _entries() if name != "icfg-pedes" or s != "val"]
    (root / file).write_text(json.dumps(rows))


def _recipe(root: Path, name: str, data: Path) -> Path:
    tree: dict[str, Any] = {"out": str(root / "out"), "data": {"name": name, "folder": str(data)}, "engine": {"device": "cpu"}}
    tree |= {"eval": {"shortlist": 4}, "init": {"checkpoint": "runs/pretrain/checkpoint"}}
    (root / "recipe.yaml").write_text(dump_yaml(tree))
    return root / "recipe.yaml"


def _evaluated(recipe: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, float]]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--config", str(recipe), "--checkpoint", str(folder), "--split", "test", "--json"])
    assert not ended.value.code
    return json.loads(capsys.readouterr().out)


def _expected(folder: Path, images: Path) -> dict[str, float]:
    """The slow way, with the parts of `pretrain` alone: all captions against all pictures of the test split."""
    loaded = checkpoint.load_model(folder)
    test = [entry for entry in _entries() if entry[0] == "test"]
    look = AugmentConfig()
    decoded = [decode_resized((images / picture).read_bytes(), 32, 16, picture) for _, _, picture, _ in test]
    pixels = [normalise(picture, look.mean, look.std) for picture in decoded]
    captions = [(text, person) for _, person, _, texts in test for text in texts]
    unique = list(dict.fromkeys(text for text, _ in captions))
    gallery = encode_images(loaded.model, [torch.from_numpy(np.stack(pixels))])
    texts = encode_texts(loaded.model, loaded.tokenizer, unique)
    scores = fuse(shortlist_scores(loaded.model, texts, gallery, 4), similarity_matrix(texts, gallery)).numpy()
    order = np.argsort(-scores[[unique.index(text) for text, _ in captions]], axis=1, kind="stable")
    right = np.array([person for _, person, _, _ in test])[order] == np.array([person for _, person in captions])[:, None]
    precision = right.cumsum(1) / np.arange(1, len(test) + 1)
    average = ((precision * right).sum(1) / right.sum(1)).mean()
    return {"recall@1": float(right[:, 0].mean()), "recall@5": float(right[:, :5].any(1).mean()), "map": float(average)}


@pytest.mark.parametrize("name", ["cuhk-pedes", "icfg-pedes", "rstpreid", "own"])
def test_a_pretrained_checkpoint_is_scored_on_a_benchmark_without_fine_tuning(
    name: str, pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _benchmark(tmp_path, name)
    scores = _evaluated(_recipe(tmp_path, name, tmp_path), pretrained, capsys)["all"]
    expected = _expected(pretrained, tmp_path / ("images" if name == "own" else "imgs"))
    assert {key: scores[key] for key in expected} == pytest.approx(expected)
    assert 0 < scores["map"] < 1


def test_the_challenge_is_scored_by_kind(pretrained: Path, miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = _evaluated(_recipe(tmp_path, "challenge", miniature), pretrained, capsys)
    assert scores.pop("measured_on")["checkpoint"] == str(pretrained)
    assert set(scores) == {"all", "pedestrian", "vehicle"}
    assert all(0 <= value <= 1 + 1e-6 for group in scores.values() for value in group.values())


def test_passerby_evaluate_finds_out_whether_shards_or_a_benchmark_are_meant(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, "own", tmp_path)
    assert evaluation_module([str(recipe), "--checkpoint", "c"]) == evaluation_module(["--config", str(recipe)]) == "finetune"
    assert evaluation_module(["--checkpoint=c", f"--config={recipe}"]) == "finetune"
    assert evaluation_module([str(ROOT / "configs" / "pretrain" / "demo.yaml")]) == "pretrain"
    (tmp_path / "training").mkdir()
    recipe.rename(tmp_path / "training" / "config.yaml")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.yaml").write_text("data: {shards: there}\n")
    for words in (["training"], ["--checkpoint", "other", "training"], ["--split", "val", "training", "--checkpoint", "other"]):
        assert evaluation_module([str(tmp_path / word) if word in ("training", "other") else word for word in words]) == "finetune"
    assert evaluation_module(["absent.yaml"]) == evaluation_module(["--help"]) == evaluation_module([]) == "pretrain"
    for path in (ROOT / "configs" / "finetune").glob("*.yaml"):
        assert evaluation_module([str(path)]) == "finetune"
