"""Chunks of ITC rows: the same loss and gradients, and less memory in forward and backward."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.losses.itc import Pairs, itc_loss, itc_rows_loss
from pretrain.objective import Encoded, Pictures, itc_term
from tests.unit.pretrain.memory import peak_bytes

ROWS = 256


def _pairs() -> Pairs:
    generator = torch.Generator().manual_seed(0)
    features = [torch.randn(ROWS, 16, generator=generator).requires_grad_() for _ in range(2)]
    return Pairs(features[0], features[1], torch.randint(0, 200, (ROWS,), generator=generator))


def _loss(pairs: Pairs, temperature: Tensor, chunk: int) -> Tensor:
    unit = Pairs(F.normalize(pairs.image, dim=1), F.normalize(pairs.text, dim=1), pairs.identities)
    return itc_rows_loss(unit, unit, temperature, chunk)


@pytest.mark.parametrize("chunk", [1, 100, 256, 1000])
def test_chunks_change_neither_loss_nor_gradients(chunk: int) -> None:
    results = []
    for size in (0, chunk):
        pairs, temperature = _pairs(), torch.full((1,), 0.07, requires_grad=True)
        loss = _loss(pairs, temperature, size)
        results.append((loss, *torch.autograd.grad(loss, [pairs.image, pairs.text, temperature])))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*results, strict=True))


def test_rows_of_two_parts_against_all_columns_average_to_the_whole_loss() -> None:
    pairs, temperature = _pairs(), torch.tensor([0.07])
    unit = Pairs(F.normalize(pairs.image, dim=1), F.normalize(pairs.text, dim=1), pairs.identities)
    parts = [Pairs(unit.image[rows], unit.text[rows], unit.identities[rows]) for rows in (slice(0, 128), slice(128, 256))]
    halves = torch.stack([itc_rows_loss(part, unit, temperature) for part in parts]).mean()
    assert torch.allclose(halves, itc_loss(unit.image, unit.text, temperature, unit.identities), atol=1e-5)


def test_parts_of_a_step_that_are_done_are_further_columns_without_gradient() -> None:
    whole = _pairs()
    unit = Pairs(F.normalize(whole.image, dim=1), F.normalize(whole.text, dim=1), whole.identities)
    first, second = (Pairs(unit.image[rows], unit.text[rows], unit.identities[rows]) for rows in (slice(0, 128), slice(128, 256)))
    model, earlier = SimpleNamespace(temp=torch.tensor([0.07])), []
    for part in (first, second):
        images, texts = Pictures(part.image, part.image, []), Encoded(part.text, part.text)
        loss = itc_term(model, images, texts, part.identities, earlier=earlier)  # type: ignore[arg-type]
    assert torch.allclose(loss, itc_rows_loss(second, Pairs.joined([second, first]), model.temp), atol=1e-6)
    (gradient,) = torch.autograd.grad(loss, [whole.image])
    assert gradient[:128].abs().sum() == 0
    assert gradient[128:].abs().sum() > 0


def test_memory_falls_with_the_chunk_in_forward_and_in_backward() -> None:
    """Beside (ROWS, 16) features, which every size needs, the matrices are (chunk, ROWS)."""
    forward, backward = {}, {}
    for chunk in (0, 64, 16):
        pairs, temperature = _pairs(), torch.full((1,), 0.07, requires_grad=True)
        loss, forward[chunk], kept = peak_bytes(lambda p=pairs, t=temperature, c=chunk: _loss(p, t, c))
        _, peak, _ = peak_bytes(loss.backward)
        backward[chunk] = kept + peak
    matrix = ROWS * ROWS * 4
    assert forward[0] > 4 * matrix
    assert forward[64] < forward[0] / 2
    assert forward[16] < forward[64] / 1.5
    assert backward[0] > 4 * matrix
    assert backward[64] < backward[0] / 2
    assert backward[16] < backward[64] / 1.5
