"""Fusion, completion, expansion, routing of pictures, cross-domain table, export: what each must give on small inputs."""

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import ExifTags, Image

from finetune.cli import finetune
from finetune.colour import coloured_lines, tag_colour, train_colours
from finetune.completion import candidates, complete, untuned_clip
from finetune.config import EvalConfig, FinetuneConfig
from finetune.datasets.challenge import read_labels
from finetune.datasets.lines import TrainingLines, train_split, validation_split
from finetune.datasets.retrieval_split import read_test
from finetune.evaluate import cost_of
from finetune.expansion import expanded_scores
from finetune.export import example_inputs, export_checkpoint, from_pretrained
from finetune.fusion import fuse
from finetune.gallery_kinds import rerouted, router_of, routes_of
from finetune.matrix import cross_domain, table
from finetune.methods.start import start_method
from finetune.models.clip import Clip
from finetune.models.clip_settings import ClipConfig
from finetune.tasks import rank_split
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.challenge import VehicleTag
from pipeline.contracts.errors import ConfigError, ContractError
from pipeline.signals import StopRequest
from tests.unit.finetune.conftest import MODEL
from tests.unit.finetune.test_methods import lines_of, recipe
from tests.unit.finetune.tiny_models import CLIP

CPU = torch.device("cpu")


def test_fusion_scales_rows_and_keeps_closed_places():
    rng = np.random.default_rng(0)
    one = rng.normal(size=(3, 5)).astype(np.float32)
    one[0, 1] = -np.inf
    other = one * np.array([[1.0], [1000.0], [0.001]]) + 7
    fused = fuse([one, other])
    assert fused[0, 1] == -np.inf
    assert (np.argsort(fused, axis=1) == np.argsort(one, axis=1)).all()
    np.testing.assert_allclose(fuse([one, -other], [3, 1])[1:], fuse([one])[1:] / 2, atol=1e-5)
    with pytest.raises(ContractError, match="not of the same queries"):
        fuse([one, rng.normal(size=(3, 5))])
    with pytest.raises(ContractError, match="2 weights for 1"):
        fuse([one], [1, 2])


def test_blip_fused_with_a_weak_model_still_ranks_by_its_matching_head(miniature):
    """200 of 5,000 pictures are re-ranked, and the right one, never first by cosine, is first of them."""
    config = recipe("blip", miniature, Path("unused"))
    searcher = start_method(config, lines_of(config), CPU).searcher
    rng = np.random.default_rng(0)
    cosines, weak = (torch.from_numpy(rng.normal(0.3, 0.05, (20, 5000)).astype(np.float32)) for _ in range(2))
    top = cosines.topk(200, dim=1).indices
    logits = torch.from_numpy(rng.normal(-4, 1.5, (20, 200)).astype(np.float32))
    logits[:, 50] = 5
    scores = searcher.fuse(cosines.clone(), top, logits)
    order = np.argsort(-scores.numpy(), axis=1)
    assert (order[:, :200] == np.take_along_axis(top.numpy(), np.argsort(-(cosines.gather(1, top) + logits).numpy(), axis=1), 1)).all()
    assert (np.diff(np.take_along_axis(cosines.numpy(), order[:, 200:], 1), axis=1) <= 1e-6).all()  # the rest by cosine
    for fused in (scores.numpy(), fuse([scores.numpy(), weak.numpy()])):
        assert (fused.argmax(1) == top[:, 50].numpy()).all()


def test_expansion_reorders_the_shortlist_only():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(30, 8))
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    similarity = (rng.normal(size=(4, 8)) @ images.T).astype(np.float32)
    scores = expanded_scores(similarity, images, shortlist=6, best=3, neighbours=3)
    for before, after in zip(similarity, scores, strict=True):
        first, fresh = np.argsort(-before, kind="stable"), np.argsort(-after, kind="stable")
        assert set(fresh[:6]) == set(first[:6])
        assert (fresh[6:] == first[6:]).all()
    assert np.isfinite(expanded_scores(np.ones((1, 3), np.float32), images[:3], 25)).all()


def test_expansion_changes_the_order_of_an_evaluation_but_not_who_is_on_the_list(miniature):
    config = recipe("irra", miniature, Path("unused"))
    method = start_method(config, lines_of(config), CPU)
    split = read_test(miniature)
    plain, expanded = (rank_split(method.searcher, split, EvalConfig(expand=e)) for e in (0, 3))
    assert not np.array_equal(plain, expanded)
    for before, after in zip(plain, expanded, strict=True):
        assert set(np.argsort(-before, kind="stable")[:3]) == set(np.argsort(-after, kind="stable")[:3])


def test_candidates_fill_colour_and_type_and_never_the_brand():
    assert candidates(VehicleTag("white", "Audi", "SUV")) == [VehicleTag("white", "Audi", "SUV")]
    assert len(candidates(VehicleTag("white", "Audi"))) == 6
    assert len(candidates(VehicleTag(None, "Hongyan"))) == 66
    assert {c.brand for c in candidates(VehicleTag(type="Bus"))} == {None}
    assert len(candidates(VehicleTag(type="Bus"))) == 11


@pytest.fixture(scope="module")
def clip_file(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("clip") / "clip.pt"
    torch.save(Clip(build(ClipConfig, CLIP | {"height": 32, "width": 32}, "test")).state_dict(), path)
    return path


def test_completion_writes_a_line_per_vehicle_that_keeps_what_was_known(clip_file, miniature, tmp_path):
    out = tmp_path / "completed.txt"
    report = complete(untuned_clip(clip_file, CPU), miniature, out, "train")
    rows = [line.split("$") for line in out.read_text().splitlines()]
    assert report["vehicles"] == len(rows) == 18
    assert report["completed"] == 18  # no training tag fills all three slots
    for image, tag, _, filled in rows:
        assert image.endswith(".jpg")
        assert set(tag.split()) <= set(filled.split())


def test_the_router_tells_kinds_from_pixels(miniature):
    router = router_of(miniature)
    records = read_labels(miniature / "val" / "val_label.txt")
    found = routes_of(router, miniature / "val" / "val_images", [record.image for record in records])
    assert [route.kind for route in found] == [record.kind for record in records]
    assert all(0.5 <= route.confidence <= 1 for route in found)


def test_the_router_sees_a_picture_as_the_encoders_see_it(tmp_path, miniature):
    """Neither turns it by its EXIF orientation."""
    name = read_labels(miniature / "val" / "val_label.txt")[0].image
    router = router_of(miniature)
    with Image.open(miniature / "val" / "val_images" / name) as image:
        image.save(tmp_path / "plain.png")
        exif = image.getexif()
        exif[ExifTags.Base.Orientation] = 6
        image.save(tmp_path / "turned.png", exif=exif)
    one, other = routes_of(router, tmp_path, ["plain.png", "turned.png"])
    assert one == other


def test_a_gallery_without_telling_names_is_routed_by_its_pictures(miniature, tmp_path):
    shutil.copytree(miniature, tmp_path / "data")
    folder, kinds = tmp_path / "data" / "test" / "test_images", {}
    for number, path in enumerate(sorted(folder.iterdir())):
        name = f"picture-{number}.jpg"
        kinds[name] = "vehicle" if path.name.startswith("vehicle") else "pedestrian"
        path.rename(folder / name)
    (tmp_path / "data" / "test" / "test_gt.txt").unlink()
    split = read_test(tmp_path / "data")
    assert all(len(columns) == 12 for _, columns in split.routes.values())
    for kind, (_, columns) in rerouted(tmp_path / "data", split).routes.items():
        assert {split.gallery[c] for c in columns} >= {name for name, value in kinds.items() if value == kind}
    assert sum(len(columns) for _, columns in rerouted(tmp_path / "data", split).routes.values()) < 24
    done = CliRunner().invoke(
        finetune, ["challenge", "route", str(folder), "--data", str(tmp_path / "data"), "--json"], catch_exceptions=False
    )
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["image"]: row["kind"] for row in rows} == kinds


def test_colours_are_learned_from_tags_and_read_from_new_pictures(miniature):
    config = recipe("blip", miniature, Path("unused"))
    lines = lines_of(config)
    numbers = coloured_lines(lines)
    assert all(tag_colour(lines.records[n].identity) for n in numbers)
    rng, rgb = np.random.default_rng(0), {"white": (240, 240, 240), "red": (200, 20, 30), "blue": (20, 40, 200)}

    def car(colour: str) -> np.ndarray:
        picture = rng.integers(90, 140, (40, 60, 3)).astype(np.uint8)
        cv2.rectangle(picture, (10, 10), (50, 32), rgb[colour], -1)
        return picture

    chosen = [n for n in numbers if tag_colour(lines.records[n].identity) in rgb]
    colours = [tag_colour(lines.records[n].identity) for n in chosen]
    classifier = train_colours(lines, [car(c) for c in colours], chosen)
    for colour in set(colours):
        assert classifier.colour(car(colour)) == colour


def person_config(people, out: Path, name: str = "icfg-pedes"):
    from finetune.recipes import IrraRecipe

    tree = {
        "method": "irra",
        "out": str(out),
        "data": {"name": name, "folder": str(people), "val_share": 0.4},
        "model": {"clip": CLIP, "cross_layers": 1},
        "train": {"steps": 1, "global_batch": 3},
        "engine": {"kind": "torch", "device": "cpu"},
        "eval": {"times": 1},
    }
    return build(IrraRecipe, tree, "test")


def test_a_set_without_validation_holds_whole_identities_out(people):
    config = person_config(people, Path("unused"))
    train_part, held = train_split(config.data), validation_split(config.data)
    assert held.records
    assert train_part.records
    assert not {r.identity for r in train_part.records} & {r.identity for r in held.records}
    assert len(train_part.records) + len(held.records) == 6
    assert len(TrainingLines.read(people, config.data).records) == train_part.num_captions


def test_the_matrix_scores_every_training_on_every_data_set(people, tmp_path):
    configs = [person_config(people, tmp_path / name, name) for name in ("icfg-pedes", "rstpreid")]
    with pytest.raises(ConfigError, match="no finished training"):
        cross_domain(configs)
    summaries = [train(config, StopRequest()) for config in configs]
    result = cross_domain(configs)
    assert result["rows"]["irra:rstpreid"]["rstpreid"] == summaries[1]["test"]["all"]["recall@1"]
    assert set(result["rows"]["irra:icfg-pedes"]) == {"icfg-pedes", "rstpreid"}
    assert table(result).count("%") == 4
    with pytest.raises(ConfigError, match="two of the configs are irra:rstpreid"):
        cross_domain([configs[1], configs[1]])
    cost = cost_of(configs[0], tmp_path / "icfg-pedes", "test")
    assert cost["shortlist"] == 0
    assert cost["gallery"] == 2
    assert min(cost["cosine_ms"], cost["reranked_ms"]) > 0


@pytest.mark.parametrize("name", ["aptm", "irra", "blip"])
def test_an_exported_folder_opens_and_its_encoders_agree(name, miniature, tmp_path):
    config = aptm_recipe(miniature, tmp_path) if name == "aptm" else recipe(name, miniature, tmp_path / "out")
    method = start_method(config, lines_of(config), CPU)
    method.model.eval()
    method.save(tmp_path / "checkpoint", {"step": 3, "val": {"all": {"map": 0.25}}})
    report = export_checkpoint(tmp_path / "checkpoint", tmp_path / "given", encoders=True)
    assert report["architecture"] == name
    assert report["largest_difference"] < 1e-4
    card = (tmp_path / "given" / "README.md").read_text()
    assert "| map | 25.00 % |" in card
    assert report["sha256"] in card
    Image.new("RGB", (16, 32)).save(tmp_path / "a.jpg")
    snippet = card.partition("```python\n")[2].partition("```")[0].replace("THIS FOLDER", str(tmp_path / "given"))
    exec(snippet.replace("a.jpg", str(tmp_path / "a.jpg")), found := {})  # noqa: S102
    assert (found["texts"] @ found["pictures"].T).shape == (1, 1)
    assert not (tmp_path / "given" / "training_state").exists()
    export_checkpoint(tmp_path / "checkpoint", tmp_path / "given")
    assert {path.name for path in (tmp_path / "given").iterdir()} == {*(p.name for p in (tmp_path / "checkpoint").iterdir()), "README.md"}
    export_checkpoint(tmp_path / "checkpoint", tmp_path / "given", encoders=True)
    (tmp_path / "other" / "training_state").mkdir(parents=True)
    with pytest.raises(ConfigError, match="is where a training keeps its own checkpoints"):
        export_checkpoint(tmp_path / "checkpoint", tmp_path / "other")

    opened = from_pretrained(tmp_path / "given", "cpu")
    texts = ["a white Audi Sedan.", "a man"]
    expected = method.searcher.embed_texts(texts).feat
    torch.testing.assert_close(opened.embed_texts(texts).feat, expected)
    pixels, tokens = example_inputs(opened, [*texts, "a woman in a long red coat", "a bus", "a person"])
    for file, inputs, features in (
        ("image_encoder.pt2", (pixels,), opened.embed_images(pixels).feat),
        ("text_encoder.pt2", tokens, opened.embed_texts([*texts, "a woman in a long red coat", "a bus", "a person"]).feat),
    ):
        program = torch.export.load(tmp_path / "given" / file).module()
        torch.testing.assert_close(program(*inputs), features, atol=1e-4, rtol=1e-3)  # five: traced with three, checked with one


def aptm_recipe(miniature: Path, out: Path) -> FinetuneConfig:
    return build(FinetuneConfig, {"out": str(out), "data": {"folder": str(miniature)}, "model": MODEL}, "test")
