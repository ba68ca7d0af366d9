"""IRRA, CLIP and BLIP in training: resumed runs equal whole ones, options do what they say, searchers repeat what was validated."""

from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.datasets.lines import TrainingLines
from finetune.evaluate import evaluate, predict_submission
from finetune.losses.contrastive import infonce_loss
from finetune.methods.lora import plain_state
from finetune.methods.mining import HardBatches
from finetune.methods.start import open_searcher, start_method
from finetune.models.blip import EMPTY
from finetune.models.clip import image_feature, normalised, text_feature
from finetune.models.clip_tokenizer import ClipTokenizer
from finetune.order import KindBatches
from finetune.recipes import RECIPES, Recipe
from finetune.submission import read_submission
from finetune.train import train
from pipeline.config import build
from pipeline.contracts.errors import ConfigError, ContractError, StageError
from pipeline.signals import Stopped, StopRequest
from tests.unit.finetune.test_training import StopAfter
from tests.unit.finetune.tiny_models import BLIP, CLIP

CPU = torch.device("cpu")
METHODS = {
    "irra": {"model": {"clip": CLIP, "cross_layers": 1}, "objective": {"irm": 1.0, "ac": 1.0}, "ema": 0.5},
    "lora": {"method": "irra", "model": {"clip": CLIP, "cross_layers": 1}, "lora": {"rank": 2}, "optim": {"lr": 1e-2}},
    "clip": {"model": {"clip": CLIP}},
    "blip": {"model": {"config": BLIP, "queue_size": 20}, "objective": {"colour_patch": True}},
}


def recipe(name: str, miniature: Path, out: Path, **changes) -> Recipe:
    method = METHODS[name].get("method", name)
    tree = {
        "method": method,
        "out": str(out),
        "data": {"folder": str(miniature), "kinds": ["vehicle"] if method == "blip" else ["pedestrian", "vehicle"]},
        "train": {"steps": 4, "global_batch": 4, "save_every": 1},
        "engine": {"kind": "torch", "device": "cpu"},
        "eval": {"times": 2, "shortlist": 4},
    }
    return build(RECIPES[method], tree | METHODS[name] | changes, "test")


@pytest.mark.parametrize("name", METHODS)
def test_a_stopped_training_continues_as_if_it_had_not_been_stopped(name, miniature, tmp_path):
    whole, parts = (recipe(name, miniature, tmp_path / part) for part in ("whole", "parts"))
    expected = train(whole, StopRequest())
    with pytest.raises(Stopped, match="stopped at step 2 of 4"):
        train(parts, StopAfter(1))
    summary = train(parts, StopRequest())
    assert summary["losses"] == expected["losses"]
    assert summary["test"] == expected["test"]
    again = evaluate(whole, Path(whole.out), "val")
    assert again["all"] == pytest.approx(expected["val"]["all"], abs=1e-9)


def lines_of(config: Recipe) -> TrainingLines:
    return TrainingLines.read(Path(config.data.folder), config.data)


def test_adapters_leave_the_towers_frozen_and_merge_into_plain_weights(miniature, tmp_path):
    config = recipe("lora", miniature, tmp_path / "out")
    method = start_method(config, lines_of(config), CPU)
    for name, parameter in method.model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name or not name.startswith("base_model."))
        if "lora_B" in name:
            torch.nn.init.normal_(parameter)
    method.model.eval()
    pixels = torch.randn(2, 3, 32, 16)
    expected = method.searcher.embed_images(pixels).feat
    method.save(tmp_path / "folder", {})
    assert not any("lora" in name or "base_layer" in name for name in plain_state(method.model))
    torch.testing.assert_close(open_searcher(tmp_path / "folder", CPU).embed_images(pixels).feat, expected, atol=1e-5, rtol=1e-4)


def test_a_released_irra_starts_a_training_with_its_cross_former_and_heads(miniature, tmp_path):
    """Its pictures are three times as high as wide, as all released ones are; the classifier is of other identities and starts anew."""
    given = recipe("irra", miniature, tmp_path, model={"clip": CLIP | {"height": 48}, "cross_layers": 1}, data={"folder": str(miniature)})
    state = start_method(given, lines_of(given), CPU).model.state_dict()
    other = {"classifier.weight": torch.zeros(999, 64), "classifier.bias": torch.zeros(999)}
    torch.save({"model": {name: torch.randn_like(value) for name, value in state.items()} | other}, tmp_path / "best.pth")
    changes = {"init": {"weights": str(tmp_path / "best.pth")}, "model": {"height": 48, "width": 16, "cross_layers": 1}}
    started = start_method(recipe("irra", miniature, tmp_path, **changes), lines_of(given), CPU)
    expected, found = torch.load(tmp_path / "best.pth")["model"], started.model.state_dict()
    assert set(found) == set(expected)
    assert {name for name in found if not torch.equal(found[name], expected[name])} == {"classifier.weight", "classifier.bias"}
    assert "unexpected" not in started.source
    alone = start_method(recipe("clip", miniature, tmp_path, **changes | {"model": {"height": 48, "width": 16}}), lines_of(given), CPU)
    assert torch.equal(alone.model.base_model.text_projection, expected["base_model.text_projection"])


@pytest.mark.parametrize("name", ["irra", "clip"])
def test_a_start_from_a_checkpoint_keeps_its_tokenizer(name, miniature, tmp_path):
    """Of published weights with merges of their own: the same text must go on being the same tokens."""
    first = start_method(config := recipe(name, miniature, tmp_path / "out"), lines_of(config), CPU)
    first.tokenizer = ClipTokenizer(first.tokenizer.merges[::-1], with_mask=name == "irra")
    first.save(tmp_path / "first", {})
    again = recipe(name, miniature, tmp_path / "again", init={"checkpoint": str(tmp_path / "first")})
    assert start_method(again, lines_of(again), CPU).tokenizer.merges == first.tokenizer.merges


@pytest.mark.parametrize("name", ["irra", "clip"])
def test_a_continuation_keeps_the_tokenizer_that_its_training_began_with(name, miniature, tmp_path):
    began, goes_on = (start_method(config := recipe(name, miniature, tmp_path / "out"), lines_of(config), CPU) for _ in range(2))
    began.tokenizer = ClipTokenizer(began.tokenizer.merges[::-1], with_mask=name == "irra")
    began.save_state(tmp_path / "newest")
    began.save(tmp_path / "newest", {})
    goes_on.load_state(tmp_path / "newest")
    texts = ["a man in a red coat"]
    assert torch.equal(goes_on.tokenizer(texts), began.tokenizer(texts))
    assert torch.equal(goes_on.searcher.embed_texts(texts).mask, began.tokenizer(texts))


def test_adapters_leave_heads_frozen_that_no_term_reaches(miniature, tmp_path):
    config = recipe("lora", miniature, tmp_path / "out", objective={"mlm": 0})
    named = start_method(config, lines_of(config), CPU).model.named_parameters()
    assert {name.split(".")[0] for name, p in named if p.requires_grad and "lora_" not in name} == {"classifier"}


def test_averaged_weights_lag_behind_and_are_given_back(miniature, tmp_path):
    config = recipe("irra", miniature, tmp_path / "out", ema=0.9)
    method = start_method(config, lines_of(config), CPU)
    weight = method.model.base_model.text_projection
    before = weight.detach().clone()
    with torch.no_grad():
        weight.add_(1.0)
    method.after_step()
    with method.averaged():
        torch.testing.assert_close(weight.detach(), before + 0.1)
    torch.testing.assert_close(weight.detach(), before + 1.0)


def test_mined_lines_differ_by_a_bit_or_two_from_a_kept_line(miniature):
    config = recipe("irra", miniature, Path("unused"))
    records = lines_of(config).records
    plain = KindBatches(3, records, 4, 0, 6)
    batches = list(HardBatches(plain, records, 0.5, 2))
    assert batches == list(HardBatches(KindBatches(3, records, 4, 0, 6), records, 0.5, 2))
    ranks = [HardBatches(KindBatches(3, records, 4, 0, 6, rank, 2), records, 0.5, 2) for rank in (0, 1)]
    assert batches == [one + other for one, other in zip(*ranks, strict=True)]
    near = 0
    for batch, before in zip(batches, KindBatches(3, records, 4, 0, 6), strict=True):
        assert batch[:2] == before[:2]
        assert len(batch) == 4
        assert len({records[line].kind for _, line in batch}) == 1
        for place, (_, line) in enumerate(batch[2:]):
            if records[line].kind == "pedestrian" and batch[2 + place] != before[2 + place]:
                distance = sum(a != b for a, b in zip(records[line].labels, records[batch[place][1]].labels, strict=True))
                assert 1 <= distance <= 2
                near += 1
    assert near > 0


def test_the_colour_patch_of_a_validation_picture_ignores_its_label(miniature, tmp_path):
    config = recipe("blip", miniature, tmp_path / "out")
    lines = lines_of(config)
    method = start_method(config, lines, CPU)
    image = next((miniature / "val" / "val_images").iterdir())
    pixels = method.searcher.pixels(image.read_bytes(), "x")
    method.searcher.colours = None
    plain = method.searcher.pixels(image.read_bytes(), "x")
    assert not np.array_equal(pixels[:, :2, :2], plain[:, :2, :2])
    np.testing.assert_array_equal(pixels[:, 4:, 4:], plain[:, 4:, 4:])


def test_blip_starts_from_the_weights_of_another_training_but_not_from_its_queue(miniature, tmp_path):
    config = recipe("blip", miniature, tmp_path / "first")
    train(config, StopRequest())
    started = start_method(recipe("blip", miniature, tmp_path / "o", init={"checkpoint": config.out}), lines_of(config), CPU)
    before = open_searcher(Path(config.out), CPU).model.state_dict()
    after = started.model.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if not name.startswith("queue."))
    assert (before["queue.classes"] != EMPTY).any()
    assert (after["queue.classes"] == EMPTY).all()
    assert after["queue.position"].item() == 0


def test_weights_of_another_architecture_or_half_a_model_are_refused(miniature, tmp_path):
    config = recipe("irra", miniature, tmp_path / "out")
    method = start_method(config, lines_of(config), CPU)
    method.save(tmp_path / "whole", {})
    started = start_method(recipe("irra", miniature, tmp_path / "o", init={"checkpoint": str(tmp_path / "whole")}), lines_of(config), CPU)
    assert "loaded" in started.source
    with pytest.raises(ContractError, match="describes architecture 'irra'"):
        start_method(recipe("blip", miniature, tmp_path / "o", init={"checkpoint": str(tmp_path / "whole")}), lines_of(config), CPU)
    from safetensors.torch import load_file, save_file

    state = load_file(tmp_path / "whole" / "model.safetensors")
    save_file({k: v for k, v in state.items() if "visual" not in k}, tmp_path / "whole" / "model.safetensors")
    with pytest.raises(ContractError, match="of the tensors were found"):
        start_method(recipe("irra", miniature, tmp_path / "o", init={"checkpoint": str(tmp_path / "whole")}), lines_of(config), CPU)
    with pytest.raises(ContractError, match="must hold the whole model"):
        open_searcher(tmp_path / "whole", CPU)


def test_models_of_both_kinds_make_one_submission(miniature, tmp_path):
    folders = {}
    for name in ("irra", "blip"):
        config = recipe(name, miniature, tmp_path / name)
        method = start_method(config, lines_of(config), CPU)
        method.save(tmp_path / name, {})
        folders[name] = [tmp_path / name]
    out = tmp_path / "submission.json"
    kinds = {"pedestrian": folders["irra"] * 2, "vehicle": folders["blip"]}
    with pytest.raises(ConfigError, match="no checkpoint for vehicle queries"):
        predict_submission([], miniature, out, "cpu", {"pedestrian": folders["irra"]})
    with pytest.raises(StageError, match="cannot write"):  # before anything is ranked
        predict_submission([], miniature, tmp_path, "cpu", {"pedestrian": folders["irra"]})
    predict_submission([], miniature, out, "cpu", kinds)
    assert len(read_submission(out)) == 12


@pytest.mark.parametrize(("start", "scale"), [(4.6052, 100.0), (5.0, 100.0), (3.0, np.exp(3.0))])
def test_clips_temperature_is_learned_from_where_published_weights_stand_and_never_scales_by_more_than_a_hundred(start, scale, miniature):
    config = recipe("clip", miniature, Path("unused"))
    method = start_method(config, lines_of(config), CPU)
    torch.nn.init.constant_(method.model.logit_scale, start)
    batch = next(method.batches(0, 1, 0, 1))
    loss = method.step(*method.arguments(batch, 0))["itc"]
    loss.backward()
    with torch.no_grad():
        texts = normalised(text_feature(method.model.base_model.text_tokens(batch.ids), batch.ids))
        images = normalised(image_feature(method.model.base_model.image_tokens(batch.image)))
    assert loss.item() == pytest.approx(infonce_loss(images, texts, scale).item(), rel=1e-4)
    assert method.model.logit_scale.grad.abs() > 1e-3
