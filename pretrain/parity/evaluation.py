"""Retrieval and attribute evaluation: score matrices of the model, and metrics of given matrices."""

import re

import torch
from torch import Tensor

from pretrain.parity.fixture import Check, Fixture, close, close_numbers
from pretrain.parity.matrix import fuse, fuse_as_published, shortlist_scores, similarity_matrix
from pretrain.retrieval.attributes import attribute_metrics, predicted_labels, prompt_scores
from pretrain.retrieval.encode import encode_ids, encode_images
from pretrain.retrieval.metrics import retrieval_metrics

RETRIEVAL_NAMES = {"R1": "recall@1", "R5": "recall@5", "R10": "recall@10", "mAP": "map", "mINP": "minp"}
ATTRIBUTE_NAMES = {"label_mA": "mean_accuracy", "ins_acc": "accuracy", "ins_prec": "precision", "ins_rec": "recall", "ins_f1": "f1"}
_RANKS = re.compile(r"eval_score_t2i_world(\d+)")  # the score matrix that so many processes sum to
ROUNDING = 5.1e-5  # golden numbers with four digits


def evaluation_checks(fixture: Fixture) -> list[Check]:
    return [*_model_checks(fixture), *_matrix_checks(fixture)]


@torch.no_grad()
def _model_checks(fixture: Fixture) -> list[Check]:
    golden, facts, model = fixture.tensors("eval.safetensors"), fixture.json("eval.json"), fixture.model
    texts = encode_ids(model, golden["eval_input_ids"], golden["eval_attention_mask"])
    images = encode_images(model, [golden["eval_images"]])
    similarity = similarity_matrix(texts, images)
    scores = shortlist_scores(model, texts, images, facts["k_test"])
    attribute_scores = prompt_scores(model, encode_ids(model, fixture.inputs["pa_ids"], fixture.inputs["pa_atts"]), images)
    predicted = predicted_labels(attribute_scores.numpy())
    matrices = {
        "eval_sim_t2i": similarity,
        "eval_score_t2i": fuse(scores, similarity),
        "pa_score": attribute_scores,
    }
    rankings = {"metrics_score": "eval_score_t2i", "metrics_sim_only": "eval_sim_t2i"}
    for name in golden:
        if match := _RANKS.fullmatch(name):
            matrices[name] = fuse_as_published(scores, similarity, int(match[1]))
            rankings[f"metrics_score_world{match[1]}"] = name
    checks = [close(f"eval/{name}", matrix, golden[name]) for name, matrix in matrices.items()]
    for name, matrix in rankings.items():
        checks += _retrieval(f"eval/{name}/", matrices[matrix], facts["query_pids"], facts["gallery_pids"], facts[name])
    pa100k = attribute_metrics(predicted, golden["pa_label"].numpy())
    return checks + close_numbers("eval/pa100k/", _renamed(pa100k, ATTRIBUTE_NAMES), facts["pa100k"], ROUNDING)


def _matrix_checks(fixture: Fixture) -> list[Check]:
    """Metrics alone, on random matrices."""
    golden, facts, checks = fixture.tensors("eval.safetensors"), fixture.json("eval.json"), []
    for case in facts["matrices"]:
        name = case["name"]
        queries, gallery = golden[f"{name}_q_pids"].tolist(), golden[f"{name}_g_pids"].tolist()
        checks += _retrieval(f"eval/{name}/", golden[f"{name}_sim"], queries, gallery, case["metrics"])
    for case in facts["pa_random"]:
        predicted = predicted_labels(golden[f"{case['name']}_score"].numpy())
        metrics = attribute_metrics(predicted, golden[f"{case['name']}_label"].numpy())
        checks += close_numbers(f"eval/{case['name']}/", _renamed(metrics, ATTRIBUTE_NAMES), case["raw"])
    return checks


def _retrieval(prefix: str, scores: Tensor, queries: list[int], gallery: list[int], percent: dict[str, float]) -> list[Check]:
    metrics = _renamed(retrieval_metrics(scores.numpy(), queries, gallery), RETRIEVAL_NAMES)
    return close_numbers(prefix, {name: 100 * value for name, value in metrics.items()}, percent)


def _renamed(metrics: dict[str, float], names: dict[str, str]) -> dict[str, float]:
    return {theirs: metrics[ours] for theirs, ours in names.items()}
