"""Losses against slow, obvious computations, and what must hold for them."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from finetune.losses.classification import ac_loss, logit_shift, masked_token_loss
from finetune.losses.contrastive import confident_pairs, triplet_alignment_loss
from finetune.losses.fine_grained import negative_weights, soft_targets
from finetune.losses.matching import distributions, inclusion, matching_loss, same_identity
from finetune.methods.optim import alike, as_irra, as_open_clip, cosine_factor, epoch_factor, parameter_groups
from finetune.models.blip import EMPTY, FeatureQueue, Features, fitm_weights
from finetune.models.irra import irra_epoch_factor
from finetune.recipes import AdamConfig, EpochAdamConfig, IrraAdamConfig
from pipeline.contracts.challenge import includes
from pretrain.config import TrainConfig
from pretrain.losses.itm import IGNORED, matching_pairs


def features(count: int = 6, dim: int = 5, seed: int = 0):
    torch.manual_seed(seed)
    return (F.normalize(torch.randn(count, dim, dtype=torch.float64), dim=1) for _ in range(2))


def test_inclusion_of_a_batch_is_the_rule_for_each_pair():
    bits = torch.randint(0, 2, (8, 21), generator=torch.Generator().manual_seed(0))
    match = inclusion(bits)
    assert all(bool(match[i, j]) == includes(bits[i].tolist(), bits[j].tolist()) for i in range(8) for j in range(8))
    assert bool((inclusion(bits, equal=()) >= match).all())


def test_each_reading_of_the_targets_is_what_it_says():
    match = torch.tensor([[1.0, 1, 0], [0, 1, 0], [1, 1, 1]])
    for i, j in ((0, 1), (2, 0)):
        recommended, same, released = (distributions(match, reading) for reading in ("recommended", "same", "released"))
        assert recommended.text_to_image[i, j] == same.text_to_image[i, j] == match[i, j] / match[i].sum()
        assert recommended.image_to_text[j, i] == match[i, j] / match[:, j].sum()
        assert same.image_to_text[i, j] == same.text_to_image[i, j]
        assert released.text_to_image[i, j] == match[i, j] / match[j].sum()


def test_the_matching_loss_ignores_the_order_of_the_batch_and_is_least_at_the_targets():
    image, text = features()
    match = same_identity(torch.tensor([0, 1, 1, 2, 2, 2])).double()
    order = torch.tensor([3, 1, 0, 5, 4, 2])
    one = matching_loss(image, text, distributions(match, "recommended"))
    other = matching_loss(image[order], text[order], distributions(match[order][:, order], "recommended"))
    torch.testing.assert_close(one, other)
    perfect = F.one_hot(torch.tensor([0, 1, 1, 2, 2, 2]), 5).double()
    for divergence in ("reverse", "forward"):
        assert abs(float(matching_loss(perfect, perfect, distributions(match, "recommended"), divergence=divergence))) < 1e-6
        assert float(matching_loss(image, text, distributions(match, "recommended"), divergence=divergence)) > 0.1


def test_the_triplet_alignment_loss_is_the_written_formula():
    image, text = features()
    match = same_identity(torch.tensor([0, 1, 1, 2, 3, 4]))
    margin, tau, total = 0.1, 0.05, 0.0
    for scores in (text @ image.T, image @ text.T):
        for i in range(6):
            positives = [j for j in range(6) if match[i, j]]
            weights = np.exp([float(scores[i, j]) / tau for j in positives])
            best = sum(w * float(scores[i, j]) for w, j in zip(weights / weights.sum(), positives, strict=True))
            rest = tau * math.log(sum(math.exp(float(scores[i, j]) / tau) for j in range(6) if not match[i, j]))
            total += max(0.0, margin - best + rest)
    assert float(triplet_alignment_loss(image, text, match, margin, tau)) == pytest.approx(total, rel=1e-9)


def test_a_batch_of_one_identity_has_no_triplets_and_a_gradient_path():
    image, text = (f.requires_grad_() for f in features())
    loss = triplet_alignment_loss(image, text, torch.ones(6, 6), 0.1, 0.015)
    loss.backward()
    assert float(loss.detach()) == 0
    assert image.grad is not None


def test_a_mixture_tells_low_losses_from_high_ones():
    rng = np.random.default_rng(0)
    for noisy in (2, 10, 25):
        losses = torch.from_numpy(np.concatenate([rng.normal(1, 0.2, 30), rng.normal(6, 0.5, noisy)]))
        assert confident_pairs(losses).tolist() == [True] * 30 + [False] * noisy


def test_missing_labels_are_left_out_and_a_batch_without_any_gives_zero():
    logits = torch.randn(4, 3, requires_grad=True)
    labels = torch.tensor([[1, 0, -1], [-1, -1, -1], [0, 1, 1], [-1, 0, -1]])
    stated = labels >= 0
    expected = F.binary_cross_entropy_with_logits(logits[stated], labels[stated].float())
    torch.testing.assert_close(ac_loss(logits, logits, labels), expected)
    nothing = ac_loss(logits, logits, torch.full((4, 3), -1))
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert float(masked_token_loss(torch.randn(2, 5), torch.zeros(2, dtype=torch.int64))) == 0


def test_logit_adjustment_lifts_rare_bits():
    labels = torch.tensor([[1, 0, -1]] + [[0, 1, -1]] * 9)
    shift = logit_shift(labels, 1.0)
    assert shift[0] < 0 < shift[1]
    assert shift[0] == pytest.approx(math.log(2 / 10))
    assert shift[2] == 0
    assert torch.equal(logit_shift(labels, 0.0), torch.zeros(3))


def test_targets_share_the_columns_of_a_class_and_never_an_empty_slot():
    classes, every = torch.tensor([3, 5]), torch.tensor([3, 5, 3, EMPTY])
    targets = soft_targets(torch.zeros(2, 4), classes, every, alpha=0.0)
    assert targets.tolist() == [[0.5, 0, 0.5, 0], [0, 1, 0, 0]]
    mixed = soft_targets(torch.zeros(2, 4), classes, every, alpha=0.4)
    torch.testing.assert_close(mixed.sum(1), torch.ones(2))


def test_negatives_are_of_another_tag_and_a_batch_of_one_tag_has_none():
    weights = negative_weights(torch.randn(3, 3), torch.tensor([1, 1, 2]), torch.tensor([1, 1, 2]))
    assert weights[0, 1] == weights[1, 0] == weights[2, 2] == 0
    assert (weights[0, 2] > 0).item()
    image, text = (f.float() for f in features(3))
    alone = fitm_weights(Features(image, text, image, text), torch.tensor([7, 7, 7]), torch.tensor([0.07]))
    pairs = matching_pairs(alone, torch.tensor([0, 0, 0]), torch.tensor([0, 0, 0]))
    assert pairs.targets.tolist() == [1, 1, 1] + [IGNORED] * 6


def test_the_queue_wraps_around_and_keeps_the_newest():
    queue = FeatureQueue(5, 2)
    for start in range(0, 8, 2):
        rows = torch.arange(start, start + 2)
        queue.enqueue(rows[:, None].repeat(1, 2).float(), -rows[:, None].repeat(1, 2).float(), rows)
    assert sorted(queue.classes[0].tolist()) == [3, 4, 5, 6, 7]
    assert int(queue.position) == 3
    assert torch.equal(queue.image[0], queue.classes[0].float())
    assert torch.equal(queue.text[1], -queue.classes[0].float())


def test_coupled_decay_on_adamw_is_adam_with_l2():
    start, inputs = torch.randn(3, 2), torch.randn(8, 3)
    ours, theirs = (torch.nn.Parameter(start.clone()) for _ in range(2))
    config = IrraAdamConfig(lr=1e-2, weight_decay=0.1, coupled_decay=True)
    optimizers = (
        torch.optim.AdamW(parameter_groups([("weight", ours)], config, as_irra), lr=1e-2, betas=(0.9, 0.999), eps=1e-3),
        torch.optim.Adam([theirs], lr=1e-2, weight_decay=0.1, betas=(0.9, 0.999), eps=1e-3),
    )
    for _ in range(5):
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (inputs @ parameter).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_lower_blocks_learn_slower_with_layer_decay():
    names = ["visual.conv1.weight", *(f"visual.transformer.resblocks.{i}.ln_1.weight" for i in range(3)), "mlm_head.dense.weight"]
    named = [(name, torch.nn.Parameter(torch.zeros(1))) for name in names]
    groups = parameter_groups(named, AdamConfig(lr=1.0, layer_decay=0.5, coupled_decay=False), alike)
    rates = {name: group["lr"] for group in groups for name in group["names"]}
    assert [rates[name] for name in names] == [0.125, 0.25, 0.5, 1.0, 1.0]


def test_open_clips_rule_decays_matrices_alone():
    named = [("weight", torch.nn.Parameter(torch.zeros(2, 2))), *((n, torch.nn.Parameter(torch.zeros(2))) for n in ("bias", "logit_scale"))]
    groups = parameter_groups(named, AdamConfig(weight_decay=0.1, coupled_decay=False), as_open_clip)
    assert {tuple(group["names"]): group["weight_decay"] for group in groups} == {("weight",): 0.1, ("bias", "logit_scale"): 0.0}


@pytest.mark.parametrize(("lines", "batch", "epochs", "warmup"), [(68126, 64, 60, 5), (83413, 90, 50, 5), (42704, 64, 15, 0), (9, 3, 3, 1)])
def test_a_schedule_has_the_epochs_that_were_asked_for_whether_or_not_batches_fill_them(lines, batch, epochs, warmup):
    num_steps = TrainConfig(epochs=epochs, global_batch=batch).num_steps(lines)
    factors = [epoch_factor(step, lines / batch, num_steps, EpochAdamConfig(warmup_epochs=warmup)) for step in (0, num_steps - 1)]
    assert factors == [irra_epoch_factor(epoch, epochs, warmup) for epoch in (1, epochs)]


def test_schedules_start_and_end_where_they_should():
    config = EpochAdamConfig(warmup_epochs=2)
    factors = [epoch_factor(step, 10, 100, config) for step in range(100)]
    assert factors[0] == factors[9] == 0.1
    assert factors[20] == 1.0
    assert 0 < factors[99] < 0.1
    assert epoch_factor(0, 10, 1, config) == 0.1
    assert cosine_factor(0, 100, 10) == 0.1
    assert cosine_factor(10, 100, 10) == 1.0
    assert cosine_factor(100, 100, 10) == pytest.approx(0)
