"""Ranking in blocks: rank for rank what the whole matrix says, for any size of the blocks, any memory, any number of ranks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.contracts.sample import Sample
from pretrain.evaluate import score_split
from pretrain.models.aptm import APTM
from pretrain.parity.matrix import fuse_as_published, shortlist_scores
from pretrain.retrieval.blocked import Ranking, most_similar, shortlists
from pretrain.retrieval.encode import ImageFeatures, encode_ids, encode_images
from pretrain.retrieval.gallery import Gallery, shortlist_logits, text_features
from pretrain.retrieval.metrics import METRICS, positives_of, relevant_ranks
from pretrain.shards import ShardReader
from pretrain.tokenizer import EMBEDDED_VOCAB, CaptionTokenizer
from pretrain.train import build_model
from tests.unit.pretrain.ranks import run_ranks
from tests.unit.pretrain.samples import make_shards, tiny_config


def plain_metrics(scores: np.ndarray, query_ids: np.ndarray, gallery_ids: np.ndarray) -> dict[str, float]:
    """The slow, obvious way: sort every row, look at every place."""
    order = np.argsort(-scores, axis=1, kind="stable")
    relevant = gallery_ids[order] == query_ids[:, None]
    places = np.arange(1, len(gallery_ids) + 1)
    precision = relevant.cumsum(1) / places
    recalls = {f"recall@{k}": float((relevant.argmax(1) < k).mean()) for k in (1, 5, 10)}
    average = float(((precision * relevant).sum(1) / relevant.sum(1)).mean())
    return {**recalls, "map": average, "minp": float((relevant.sum(1) / (relevant * places).max(1)).mean())}


def _features(rows: int, generator: torch.Generator) -> Tensor:
    """Few different vectors of few bits: products are exact, and many scores tie."""
    return torch.randint(-2, 3, (rows, 4), generator=generator).float() / 8


@pytest.mark.parametrize("persons", [40, 3])  # one or two positives a query, and a dozen and more, where sorting takes over
@pytest.mark.parametrize("published", [1, 4])
def test_metrics_in_blocks_are_those_of_the_whole_matrix_ties_included(persons: int, published: int) -> None:
    generator = torch.Generator().manual_seed(5)
    texts, images = _features(37, generator), _features(53, generator)
    rng = np.random.default_rng(0)
    gallery_ids = np.concatenate([np.arange(persons), rng.integers(persons, size=53 - persons)])
    query_ids = rng.integers(persons, size=37)
    similarity = texts @ images.T
    found = shortlists(texts, images, 6)
    logits = torch.randint(-3, 4, found.top.shape, generator=generator).float()
    scores = logits.min(1, keepdim=True).values.expand(similarity.shape).clone().scatter_(1, found.top, logits)
    fused = fuse_as_published(scores, similarity, published)
    expected = plain_metrics(fused.numpy(), query_ids, gallery_ids), plain_metrics(similarity.numpy(), query_ids, gallery_ids)
    for block in (1, 5, 37, 100):
        again = shortlists(texts, images, 6, block)
        assert torch.equal(again.top, found.top)
        assert (again.low, again.high) == (similarity.min().item(), similarity.max().item())
        ranking = Ranking(texts, images, again, logits, published)
        for got, wanted in zip(ranking.metrics(positives_of(query_ids, gallery_ids), block), expected, strict=True):
            assert got == pytest.approx(wanted, abs=1e-12)
            assert list(got) == list(METRICS)
    rows = slice(3, 9)
    assert torch.equal(ranking.fused(rows, ranking.similarity(rows)), fused[rows])
    assert ranking.first(4, 5) == np.argsort(-fused[4].numpy(), kind="stable")[:5].tolist()


def test_a_shortlist_takes_the_first_of_equal_pictures() -> None:
    similarity = torch.tensor([[1.0, 3.0, 2.0, 2.0, 2.0], [5.0, 5.0, 5.0, 5.0, 5.0]])
    assert most_similar(similarity, 3).tolist() == [[1, 2, 3], [0, 1, 2]]


def test_counting_and_sorting_find_the_same_ranks() -> None:
    scores = np.random.default_rng(1).integers(0, 4, (6, 160)).astype(np.float32)
    every = [np.arange(160)] * 6
    by_sorting = relevant_ranks(scores, every)
    by_counting = [np.sort([relevant_ranks(row[None], [np.array([place])])[0][0] for place in range(160)]) for row in scores]
    assert all(np.array_equal(a, b) for a, b in zip(by_sorting, by_counting, strict=True))
    assert all(ranks.tolist() == list(range(1, 161)) for ranks in by_counting)
    few = [np.array([50, 3]), np.array([0])]
    assert [ranks.tolist() for ranks in relevant_ranks(np.array([[1.0] * 60] * 2), few)] == [[4, 51], [1]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> APTM:
    folder = tmp_path_factory.mktemp("model")
    return build_model(tiny_config(folder, folder), CaptionTokenizer(EMBEDDED_VOCAB)).eval()


@pytest.mark.parametrize("memory", [1, 10**9])
def test_match_logits_within_a_memory_are_those_of_the_whole(model: APTM, memory: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pretrain.retrieval.gallery.TEXT_BATCH", 4)
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 50, (10, 6), generator=generator)
    mask, pixels = torch.ones_like(ids), torch.randn(9, 3, 64, 32, generator=generator)
    texts, images = encode_ids(model, ids, mask), encode_images(model, [pixels])
    encoded: list[range] = []

    def encode(tile: range) -> ImageFeatures:
        encoded.append(tile)
        return encode_images(model, [pixels[tile.start : tile.stop]])

    gallery = Gallery(encode, 9, 4, memory)
    feat = gallery.features()
    assert torch.allclose(feat, images.feat, atol=1e-6)
    assert torch.allclose(text_features(model, ids, mask), texts.feat, atol=1e-6)
    found = shortlists(texts.feat, images.feat, 3)
    logits = shortlist_logits(model, ids, mask, gallery, found.top, memory)
    whole = shortlist_scores(model, texts, ImageFeatures(images.embeds, images.feat), 3)
    assert torch.allclose(logits, whole.gather(1, found.top), atol=1e-5)
    again = [tile for start in (0, 4, 8) for tile in gallery.tiles if _touches(found.top[start : start + 4], tile)]
    assert encoded == gallery.tiles + (again if memory == 1 else [])  # once; or again for each of three chunks of texts that want it


def _touches(top: Tensor, tile: range) -> bool:
    return bool(((top >= tile.start) & (top < tile.stop)).any())


def _scored(rank: int, shards: Path) -> tuple[dict[str, dict[str, float]], list[int]]:
    """Scores, and the numbers of the samples that this process has read."""
    config = tiny_config(shards, shards, eval={"batch_size": 4, "shortlist": 3})
    tokenizer = CaptionTokenizer(EMBEDDED_VOCAB)
    model, numbers, read_many = build_model(config, tokenizer).eval(), [], ShardReader.read_many

    def counted(self: ShardReader, wanted: Sequence[int]) -> list[Sample]:
        numbers.extend(wanted)
        return read_many(self, wanted)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardReader, "read_many", counted)
        return score_split(config, model, tokenizer), numbers


def test_three_ranks_give_the_numbers_of_one_to_the_last_bit_and_read_each_sample_once(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", train=4, val=14)
    alone, numbers = _scored(0, shards)
    ranks = run_ranks(_scored, 3, tmp_path, shards)
    assert [scores for scores, _ in ranks] == [alone] * 3
    assert numbers == sorted(number for _, read in ranks for number in read) == list(range(14))
