"""The trainings of the embedded models: held-out rule, resumable loop, whitening, text, colour rule."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from generation.embedded import autoencoder, loop, text
from generation.embedded.captioner import soften
from generation.embedded.colour_rule import garment_colours
from generation.embedded.corpus import PLAIN_CLOTHES, Corpus, is_held_out, sample_held_out_person, sample_training_person
from generation.embedded.render.labels import labels27
from generation.embedded.render.palette import LOWER_COLORS, UPPER_COLORS
from generation.embedded.render.person import sample_person
from generation.embedded.render.scene import render_person
from pipeline.contracts.errors import StageError


def test_training_and_evaluation_never_share_an_attribute_combination() -> None:
    rng = np.random.default_rng(0)
    trained = {tuple(labels27(sample_training_person(rng))) for _ in range(300)}
    held_out = {tuple(labels27(sample_held_out_person(rng))) for _ in range(50)}
    assert not trained & held_out


def test_about_a_tenth_of_the_combinations_is_held_out() -> None:
    rng = np.random.default_rng(1)
    combinations = {tuple(labels27(sample_person(rng))) for _ in range(2000)}
    assert 0.07 < np.mean([is_held_out(c) for c in combinations]) < 0.13


def _regression(step: int, model: nn.Module) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(step).standard_normal((8, 4), dtype=np.float32))
    return (model(x) - x.sum(1, keepdim=True)).square().mean()


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path: Path) -> None:
    config = loop.LoopConfig(steps=12, lr=1e-2, warmup=2, save_every=5)

    def run(folder: Path, stop_at: int | None) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Linear(4, 1)

        def loss_of(step: int) -> torch.Tensor:
            if step == stop_at:
                raise KeyboardInterrupt
            return _regression(step, model)

        return loop.train("line", folder, model, config, loss_of)

    whole = run(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", 7)
    resumed = run(tmp_path / "cut", None)
    assert torch.equal(whole.weight, resumed.weight)
    assert torch.equal(whole.bias, resumed.bias)


def test_a_non_finite_loss_stops_the_training_by_name(tmp_path: Path) -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(StageError, match="broken: loss is nan at step 0"):
        loop.train("broken", tmp_path, model, loop.LoopConfig(steps=1, lr=1.0), lambda step: model(torch.tensor([[float("nan")]])).sum())


def _corpus(count: int) -> Corpus:
    images, records = [], []
    for i in range(count):
        rng = np.random.default_rng(i)
        render = render_person(sample_person(rng), rng)
        images.append(render.image)
        records.append({"nose": list(render.joints["nose"])})
    return Corpus([np.stack(images)], records)


def test_whitening_keeps_the_reconstruction_and_gives_unit_variance() -> None:
    torch.manual_seed(0)
    corpus, vae = _corpus(16), autoencoder.build().eval()
    nn.init.normal_(vae.encoder.conv_out.bias, std=2.0)
    pixels = autoencoder.to_tensor(corpus.small_images(np.arange(16)))
    with torch.no_grad():
        before = vae.decode(vae.encode(pixels).latent_dist.mean).sample
        autoencoder.whiten(vae, corpus, num_images=16)
        latents = vae.encode(pixels).latent_dist
        after = vae.decode(latents.mean).sample
    assert torch.allclose(before, after, atol=1e-3)
    assert torch.allclose(latents.mean.std((0, 2, 3)), torch.ones(autoencoder.LATENT_CHANNELS), atol=1e-2)
    assert torch.allclose(latents.logvar, torch.full_like(latents.logvar, autoencoder.LOG_VARIANCE))


def test_the_vocabulary_reads_any_text_without_an_unknown_token(tmp_path: Path) -> None:
    tokenizer = text.build_tokenizer(["a woman in a red shirt", "a man in blue jeans"] * 5, tmp_path)
    ids = text.tokenize(tokenizer, ["a zébra – 東京 in jeans"])[0].tolist()
    words = ids[1 : ids.index(tokenizer.eos_token_id)]
    assert tokenizer.bos_token_id == ids[0]
    assert tokenizer.decode(words).replace(" ", "") == "azébra–東京injeans"


def test_the_colour_rule_reads_fresh_renders() -> None:
    right = []
    for i in range(60):
        rng = np.random.default_rng((5, i))
        person = sample_person(rng, **PLAIN_CLOTHES, bag=False, backpack=False, hair_length="short")
        render = render_person(person, rng, height=128, width=64, view=("front", "side", "back")[i % 3])
        points = np.zeros((33, 2))
        for name, left, right_ in (("shoulder", 11, 12), ("hip", 23, 24), ("knee", 25, 26)):
            points[left], points[right_] = render.joints[f"left_{name}"], render.joints[f"right_{name}"]
        right.append(garment_colours(render.image, points, UPPER_COLORS, LOWER_COLORS) == (person.upper_color, person.lower_color))
    assert np.mean(right) >= 0.95


def test_softening_keeps_size_and_type() -> None:
    image = np.full((256, 128, 3), 200, np.uint8)
    out = soften(image, np.random.default_rng(0))
    assert (out.shape, out.dtype) == (image.shape, np.uint8)
