"""What must hold for every batch, order, ranking and mask."""

import itertools
import math
import string
from itertools import accumulate
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from pretrain.losses.itc import itc_loss
from pretrain.masking import Masker
from pretrain.mixture import block_quotas
from pretrain.optim import lr_factor
from pretrain.order import Order, Place, RankBatches, places
from pretrain.parity.masks import mask_one
from pretrain.retrieval.metrics import retrieval_metrics
from pretrain.settings import MaskingConfig
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer

TOKENIZER = CaptionTokenizer(EMBEDDED_VOCAB)
seeds = st.integers(0, 2**32)


@given(size=st.integers(1, 40), seed=seeds, epoch=st.integers(0, 5))
def test_every_epoch_holds_every_sample_once(size: int, seed: int, epoch: int) -> None:
    assert sorted(places(seed, size, epoch * size, (epoch + 1) * size)) == [(epoch, number) for number in range(size)]


@given(size=st.integers(8, 40), steps=st.integers(1, 12), position=st.integers(0, 100), seed=seeds)
def test_any_number_of_ranks_goes_through_the_same_global_order(size: int, steps: int, position: int, seed: int) -> None:
    whole = places(seed, size, position, position + 8 * steps)
    for world in (1, 2, 4, 8):
        ranks = [list(RankBatches(Order(seed, (size,)), 8, position, steps, rank, world)) for rank in range(world)]
        assert [place for parts in zip(*ranks, strict=True) for part in parts for place in part] == whole


@given(size=st.integers(12, 40), seed=seeds, data=st.data())
def test_a_run_that_changes_its_number_of_ranks_still_sees_each_sample_once(size: int, seed: int, data: st.DataObject) -> None:
    position, seen = 0, []
    while position < size:
        world, batch = data.draw(st.sampled_from([1, 2, 3])), data.draw(st.sampled_from([6, 12]))
        for rank in range(world):
            seen += next(iter(RankBatches(Order(seed, (size,)), batch, position, 1, rank, world)))
        position += batch
    assert sorted(seen)[:size] == [(0, number) for number in range(size)]
    assert len(set(seen)) == len(seen)


@st.composite
def mixtures(draw: st.DrawFn) -> Order:
    sets = draw(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 5)), min_size=2, max_size=4))
    sizes, quotas = zip(*sets, strict=True)
    return Order(draw(seeds), sizes, quotas)


def _by_set(order: Order, stream: list[Place]) -> list[list[Place]]:
    """The places of each set, samples numbered within it."""
    first = [0, *accumulate(order.sizes)]
    return [[(epoch, number - start) for epoch, number in stream if start <= number < stop] for start, stop in itertools.pairwise(first)]


@given(order=mixtures(), block=st.integers(0, 30), blocks=st.integers(1, 3))
def test_every_block_of_a_mixture_holds_each_set_in_its_exact_proportion(order: Order, block: int, blocks: int) -> None:
    size = sum(order.quotas)
    own = _by_set(order, order.places(block * size, (block + blocks) * size))
    assert [len(places) for places in own] == [quota * blocks for quota in order.quotas]


@given(order=mixtures())
def test_each_set_of_a_mixture_is_gone_through_whole_before_a_sample_comes_again(order: Order) -> None:
    for size, own in zip(order.sizes, _by_set(order, order.places(0, 90)), strict=True):
        for epoch in range(len(own) // size):
            assert sorted(own[epoch * size : (epoch + 1) * size]) == [(epoch, number) for number in range(size)]


@given(order=mixtures(), position=st.integers(0, 60), data=st.data())
def test_a_mixture_has_one_order_whatever_the_ranks_and_wherever_it_is_resumed(order: Order, position: int, data: st.DataObject) -> None:
    batch = data.draw(st.sampled_from([n for n in (1, 2, 4, 6) if n <= sum(order.sizes)]))
    whole, seen = order.places(position, position + 4 * batch), []
    for step in range(4):
        world = data.draw(st.sampled_from([n for n in (1, 2, 3) if batch % n == 0]))
        for rank in range(world):
            seen += next(iter(RankBatches(order, batch, position + step * batch, 1, rank, world)))
    assert seen == whole


@given(weights=st.lists(st.decimals(0.01, 9, places=2).map(float), min_size=1, max_size=4))
def test_quotas_stand_in_the_exact_proportion_of_the_weights(weights: list[float]) -> None:
    quotas = block_quotas(weights)
    hundredths = [round(100 * weight) for weight in weights]
    assert all(a * hundredths[0] == quotas[0] * b for a, b in zip(quotas, hundredths, strict=True))
    assert math.gcd(*quotas) == 1


@given(seed=seeds, rows=st.integers(1, 8))
@settings(deadline=None)
def test_itc_does_not_depend_on_the_order_of_the_batch(seed: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image, text = (F.normalize(torch.randn(rows, 6, generator=generator), dim=1) for _ in range(2))
    persons = torch.randint(0, 4, (rows,), generator=generator)
    order = torch.randperm(rows, generator=generator)
    temperature = torch.tensor([0.1])
    one, other = itc_loss(image, text, temperature, persons), itc_loss(image[order], text[order], temperature, persons[order])
    assert torch.allclose(one, other, atol=1e-5)


@given(
    text=st.text(string.ascii_lowercase + string.digits + " ,.-", min_size=1, max_size=120),
    seed=seeds,
    probability=st.floats(0.05, 1.0),
    max_masks=st.integers(1, 12),
)
def test_masks_never_touch_special_tokens_and_keep_their_limits(text: str, seed: int, probability: float, max_masks: int) -> None:
    masker = Masker(TOKENIZER, MaskingConfig(probability=probability, max_masks=max_masks))
    tokens = TOKENIZER([text], 56)[0][0].tolist()
    masked, positions = mask_one(masker, tokens, Random(seed))
    assert len(positions) == len(set(positions)) <= max_masks
    assert all(0 < p < len(tokens) and tokens[p] not in TOKENIZER.special_ids for p in positions)
    assert all(a == b for p, (a, b) in enumerate(zip(tokens, masked, strict=True)) if p not in positions)


@given(seed=seeds, queries=st.integers(1, 8), gallery=st.integers(4, 25))
def test_rankings_keep_their_bounds_and_recall_grows_with_k(seed: int, queries: int, gallery: int) -> None:
    rng = np.random.default_rng(seed)
    gallery_ids = np.concatenate([np.arange(4), rng.integers(4, size=gallery - 4)])
    query_ids = rng.integers(4, size=queries)
    scores = rng.permutation(queries * gallery).reshape(queries, gallery).astype(np.float64)
    metrics = retrieval_metrics(scores, query_ids, gallery_ids)
    assert all(0 <= value <= 1 for value in metrics.values())
    assert metrics["recall@1"] <= metrics["recall@5"] <= metrics["recall@10"]
    order = rng.permutation(gallery)
    assert retrieval_metrics(scores[:, order], query_ids, gallery_ids[order]) == metrics
    perfect = retrieval_metrics((query_ids[:, None] == gallery_ids[None]).astype(float), query_ids, gallery_ids)
    assert set(perfect.values()) == {1.0}


@given(total=st.integers(1, 500), warmup=st.one_of(st.floats(0, 0.9), st.integers(1, 100).map(float)), step=st.integers(0, 600))
def test_the_learning_rate_factor_stays_between_0_and_1(total: int, warmup: float, step: int) -> None:
    for schedule in ("linear", "step"):
        factor = lr_factor(step, total, warmup, schedule)
        assert 0 <= factor <= 1
        assert factor <= lr_factor(step, total, warmup, "linear")
