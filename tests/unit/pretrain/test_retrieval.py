"""Metrics against a loop that reads like their definition; the shortlist and the fusion."""

import numpy as np
import pytest
import torch

from pipeline.contracts.errors import ContractError
from pretrain.models.aptm import APTM
from pretrain.models.settings import AptmConfig, TextConfig, VisionConfig
from pretrain.parity.matrix import fuse, fuse_as_published, shortlist_scores
from pretrain.retrieval.attributes import attribute_metrics, balanced_accuracies, predicted_labels, prompt_scores
from pretrain.retrieval.encode import ImageFeatures, TextFeatures, encode_ids, encode_images
from pretrain.retrieval.metrics import retrieval_metrics


def _by_definition(scores: np.ndarray, queries: list[int], gallery: list[int]) -> dict[str, float]:
    first, precisions, inverse = [], [], []
    for row, person in zip(scores, queries, strict=True):
        order = sorted(range(len(gallery)), key=lambda g: (-row[g], g))
        ranks = [rank for rank, g in enumerate(order, 1) if gallery[g] == person]
        first.append(ranks[0])
        precisions.append(sum(hits / rank for hits, rank in enumerate(ranks, 1)) / len(ranks))
        inverse.append(len(ranks) / ranks[-1])
    recalls = {f"recall@{k}": float(np.mean([rank <= k for rank in first])) for k in (1, 5, 10)}
    return {**recalls, "map": float(np.mean(precisions)), "minp": float(np.mean(inverse))}


@pytest.mark.parametrize("seed", range(5))
def test_metrics_equal_their_definition_also_with_ties(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gallery = [*range(6), *rng.integers(6, size=14).tolist()]
    queries = rng.integers(6, size=9).tolist()
    scores = rng.integers(4, size=(9, 20)).astype(np.float32)
    assert retrieval_metrics(scores, queries, gallery) == pytest.approx(_by_definition(scores, queries, gallery))


def test_the_worked_example_of_the_docstring() -> None:
    metrics = retrieval_metrics(np.array([[3.0, 2.0, 1.0]]), [7], [9, 7, 7])
    assert metrics["recall@1"] == 0
    assert metrics["map"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert metrics["minp"] == pytest.approx(2 / 3)


def test_a_query_without_a_relevant_picture_is_named() -> None:
    with pytest.raises(ContractError, match="query 1 with id 8"):
        retrieval_metrics(np.zeros((2, 2)), [7, 8], [7, 7])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_score_that_is_no_number_is_refused_and_its_query_named(bad: float) -> None:
    scores = np.zeros((3, 300))
    scores[:, 7] = -np.inf  # left out: allowed
    assert retrieval_metrics(scores, [1] * 3, [1] * 300)["map"] == 1
    scores[1, 5] = bad
    for gallery in ([1] * 3 + [2] * 297, [1] * 300):  # few and many are relevant: counted and sorted
        with pytest.raises(ContractError, match=rf"query 1 has a score of {bad} \(1 of 3 .* score another checkpoint"):
            retrieval_metrics(scores, [1] * 3, gallery)
    with pytest.raises(ContractError, match="picture 0 has a score of nan"):
        predicted_labels(np.array([[np.nan, 1.0]]))


@pytest.fixture(scope="module")
def model() -> APTM:
    torch.manual_seed(0)
    vision = VisionConfig(height=64, width=32, embed_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), window_size=4)
    text = TextConfig(vocab_size=50, hidden_size=16, intermediate_size=32, num_heads=2, num_layers=2, fusion_layer=1, max_positions=16)
    return APTM(AptmConfig(vision=vision, text=text, embed_dim=8)).eval()


@pytest.fixture(scope="module")
def features(model: APTM) -> tuple[TextFeatures, ImageFeatures]:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 50, (3, 6), generator=generator)
    pixels = torch.randn(7, 3, 64, 32, generator=generator)
    return encode_ids(model, ids, torch.ones_like(ids)), encode_images(model, pixels.split(4))


def test_a_shortlist_of_the_whole_gallery_holds_every_match_logit(model: APTM, features: tuple[TextFeatures, ImageFeatures]) -> None:
    texts, images = features
    scores = shortlist_scores(model, texts, images, shortlist=100)
    for q in range(3):
        for g in range(7):
            cross = model.cross(texts.embeds[q : q + 1], texts.mask[q : q + 1], images.embeds[g : g + 1])
            assert scores[q, g].item() == pytest.approx(model.match_logits(cross)[0, 1].item(), abs=1e-5)


def test_one_published_process_is_the_plain_fusion_and_more_change_the_matrix() -> None:
    generator = torch.Generator().manual_seed(2)
    scores, similarity = torch.randn(8, 5, generator=generator), torch.rand(8, 5, generator=generator)
    assert torch.equal(fuse_as_published(scores, similarity, 1), fuse(scores, similarity))
    assert not torch.allclose(fuse_as_published(scores, similarity, 4), fuse(scores, similarity))


def test_equal_scores_fuse_to_finite_numbers() -> None:
    assert fuse(torch.ones(2, 3), torch.ones(2, 3)).isfinite().all()


def test_prompt_scores_and_labels_follow_the_order_of_the_prompts(model: APTM, features: tuple[TextFeatures, ImageFeatures]) -> None:
    texts, images = features
    scores = prompt_scores(model, texts, images)
    assert scores.shape == (7, 3)
    assert torch.allclose(scores.T, shortlist_scores(model, texts, images, 7), atol=1e-5)
    assert predicted_labels(np.array([[1.0, 2.0, 3.0, 3.0]])).tolist() == [[1, 0]]


def test_attribute_metrics_of_a_perfect_and_a_wrong_prediction() -> None:
    labels = np.array([[0, 1], [1, 0], [1, 1]])
    assert set(attribute_metrics(labels, labels).values()) == {1.0}
    assert attribute_metrics(1 - labels, labels)["mean_accuracy"] == 0
    unknown = np.array([[0, -1], [1, -1], [-1, -1]])
    assert balanced_accuracies(np.array([[0, 0], [0, 0], [1, 1]]), unknown)[0] == 0.5
    assert np.isnan(balanced_accuracies(labels, unknown)[1])
