"""Each loss against a slow, obvious computation, and on the batches where a careless one breaks."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.contracts.errors import ContractError
from pretrain.draws import RandomDraws
from pretrain.losses.iac import iac_loss
from pretrain.losses.iam import iam_loss, matching_targets
from pretrain.losses.itc import itc_loss
from pretrain.losses.itm import itm_loss, matching_pairs, negative_weights
from pretrain.losses.mam import mam_loss, positive_matches
from pretrain.losses.mlm import mlm_loss
from pretrain.losses.reduce import as_counted_here

TEMPERATURE = torch.tensor([0.07])


def _features(rows: int, seed: int) -> Tensor:
    return F.normalize(torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_itc_shares_the_target_among_rows_of_one_person() -> None:
    image, text, persons = _features(3, 0), _features(3, 1), torch.tensor([5, 5, 7])
    logits = (image @ text.T / 0.07).tolist()
    total = 0.0
    for table in (logits, [list(column) for column in zip(*logits, strict=True)]):
        for row, targets in zip(table, ([0, 1], [0, 1], [2]), strict=True):
            log_sum = math.log(sum(math.exp(value) for value in row))
            total += sum(log_sum - row[t] for t in targets) / len(targets)
    assert itc_loss(image, text, TEMPERATURE, persons).item() == pytest.approx(total / 6, abs=1e-5)


def test_itc_refuses_features_of_different_shape() -> None:
    with pytest.raises(ContractError, match="differ in shape"):
        itc_loss(_features(3, 0), _features(2, 0), TEMPERATURE)


def test_a_negative_is_never_of_the_same_person() -> None:
    persons = torch.tensor([1, 1, 2, 3])
    weights = negative_weights(_features(4, 0), _features(4, 1), TEMPERATURE, persons)
    for seed in range(20):
        pairs = matching_pairs(weights, *RandomDraws(torch.Generator().manual_seed(seed)).negatives(weights))
        negative = pairs.targets == 0
        assert (persons[pairs.image_index[negative]] != persons[pairs.text_index[negative]]).all()
        assert pairs.targets.tolist() == [1] * 4 + [0] * 8


def test_a_batch_of_one_person_has_positives_only_and_a_gradient() -> None:
    weights = negative_weights(_features(3, 0), _features(3, 1), TEMPERATURE, torch.tensor([4, 4, 4]))
    pairs = matching_pairs(weights, *RandomDraws(torch.Generator().manual_seed(0)).negatives(weights))
    assert pairs.targets.tolist() == [1, 1, 1] + [-100] * 6
    logits = torch.zeros(9, 2, requires_grad=True)
    loss = itm_loss(logits, pairs.targets, as_counted_here)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(2))
    assert logits.grad is not None
    assert logits.grad[3:].abs().sum() == 0


def test_mlm_without_any_target_is_zero_with_a_gradient() -> None:
    logits = torch.randn(2, 3, 5, requires_grad=True)
    loss = mlm_loss(logits, torch.full((2, 3), -100), as_counted_here)
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().sum() == 0


def test_iac_counts_attributes_that_nobody_states_in_the_divisor() -> None:
    image, prompts = _features(3, 0), _features(4, 1)
    labels = torch.tensor([[0, -1], [1, -1], [-1, -1]])
    logits = (image @ prompts.T / 0.07)[:, :2]
    expected = F.cross_entropy(logits[:2], torch.tensor([0, 1]), label_smoothing=0.4) / 2
    assert iac_loss(image, prompts, TEMPERATURE, labels, 0.4, as_counted_here).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.4])
def test_a_batch_that_states_nothing_gives_zero_and_no_nan(smoothing: float) -> None:
    labels, prompts = torch.full((3, 2), -1), torch.tensor([0, 3])
    image = _features(3, 0).requires_grad_()
    iac = iac_loss(image, _features(4, 1), TEMPERATURE, labels, smoothing, as_counted_here)
    iam = iam_loss(torch.randn(2, 3, 2, requires_grad=True), matching_targets(labels, prompts), smoothing, as_counted_here)
    mam = mam_loss(
        torch.randn(4, 2, 5, requires_grad=True), torch.ones(4, 2, dtype=torch.long), torch.zeros(4, dtype=torch.bool), as_counted_here
    )
    (iac + iam + mam).backward()
    assert (iac.item(), iam.item(), mam.item()) == (0, 0, 0)
    assert image.grad is not None
    assert image.grad.isfinite().all()


def test_the_polarity_of_a_prompt_is_its_parity() -> None:
    labels = torch.tensor([[0, 1], [1, -1]])
    assert matching_targets(labels, torch.tensor([0, 1, 2, 3])).tolist() == [[1, 0], [0, 1], [0, -1], [1, -1]]
    assert positive_matches(labels).tolist() == [[True, False, False, True], [False, True, False, False]]


def test_mam_shows_each_prompt_an_image_that_it_is_true_of() -> None:
    matches = positive_matches(torch.tensor([[0, 1], [1, -1], [0, 0]]))
    for seed in range(20):
        prompts, images = RandomDraws(torch.Generator().manual_seed(seed)).positives(matches)
        assert matches[images, prompts].tolist() == [True, True, True, True]


def test_iam_draws_distinct_prompts() -> None:
    drawn = [RandomDraws(torch.Generator().manual_seed(seed)).prompts(54, 5).tolist() for seed in range(50)]
    assert all(len(set(prompts)) == 5 and max(prompts) < 54 for prompts in drawn)
    assert len({p for prompts in drawn for p in prompts}) > 40


def test_losses_are_float32_under_autocast() -> None:
    image, text = _features(3, 0).bfloat16(), _features(3, 1).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert itc_loss(image, text, TEMPERATURE).dtype == torch.float32
        assert mlm_loss(torch.randn(2, 3, 5).bfloat16(), torch.ones(2, 3, dtype=torch.long), as_counted_here).dtype == torch.float32
