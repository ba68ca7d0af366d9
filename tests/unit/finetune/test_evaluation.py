"""Ranking and measuring: who answers whom, routing, ties, duplicates, submissions from a checkpoint."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from finetune.best import POINTER
from finetune.cli import finetune
from finetune.config import DataConfig, EvalConfig
from finetune.datasets.challenge import Pedestrian, gold_path, read_gold
from finetune.datasets.retrieval_split import RetrievalSplit, inclusion_matrix, read_test, read_val, relevant_pictures
from finetune.evaluate import predict_submission
from finetune.fusion import fused_scores
from finetune.initialize import start_model
from finetune.protocol import Protocol
from finetune.scores import measure, ranked_names
from finetune.submission import find_problems, read_submission
from finetune.tasks import pixel_batches, rank_split, validation_task
from pipeline.contracts.challenge import includes
from pipeline.contracts.errors import ContractError
from pretrain.checkpoint import save_model
from pretrain.retrieval.encode import ImageFeatures


def split_of(relevant: np.ndarray, routes=None) -> RetrievalSplit:
    queries, gallery = relevant.shape
    everything = {"pedestrian": (list(range(queries)), list(range(gallery))), "vehicle": ([], [])}
    names = tuple(f"{i:06d}.jpg" for i in range(gallery))
    return RetrievalSplit(Path(), tuple(f"text {i}" for i in range(queries)), names, routes or everything, relevant)


@given(arrays(np.int64, (6, 21), elements=st.integers(0, 1)))
def test_the_inclusion_matrix_is_the_rule_for_all_pairs(bits):
    matrix = inclusion_matrix(bits)
    assert all(matrix[i, j] == includes(bits[i].tolist(), bits[j].tolist()) for i in range(6) for j in range(6))


def test_validation_pictures_answer_by_inclusion_and_by_tag(miniature):
    from finetune.datasets.challenge import labels_path, read_labels

    records = read_labels(labels_path(miniature, "val"))
    relevant = relevant_pictures(records)
    for i, query in enumerate(records):
        for j, image in enumerate(records):
            both = isinstance(query, Pedestrian), isinstance(image, Pedestrian)
            expected = includes(query.bits, image.bits) if all(both) else not any(both) and query.identity == image.identity
            assert relevant[i, j] == expected
    assert read_val(miniature).relevant.diagonal().all()


def test_a_perfect_ranking_scores_one_and_the_reverse_little():
    relevant = np.zeros((3, 30), bool)
    relevant[:, :2] = True
    perfect = measure(split_of(relevant), np.tile(-np.arange(30.0), (3, 1)))["all"]
    assert perfect.pop("official") == pytest.approx(1.0, abs=1e-6)
    assert set(perfect.values()) == {1.0}
    worst = measure(split_of(relevant), np.tile(np.arange(30.0), (3, 1)))["all"]
    assert worst["recall@10"] == worst["official"] == worst["map@10"] == 0
    assert worst["minp"] == pytest.approx(2 / 30)


def test_each_kind_is_averaged_over_its_own_queries():
    relevant = np.eye(4, dtype=bool)
    routes = {"pedestrian": ([0, 1, 2], [0, 1, 2]), "vehicle": ([3], [3])}
    scores = np.eye(4)
    scores[0, 0] = -1
    result = measure(split_of(relevant, routes), scores)
    assert (result["all"]["recall@1"], result["pedestrian"]["recall@1"], result["vehicle"]["recall@1"]) == (0.75, pytest.approx(2 / 3), 1.0)


@pytest.mark.parametrize("seed", range(4))
def test_scores_and_lists_are_those_of_a_whole_sort_also_with_ties_and_closed_places(seed):
    rng = np.random.default_rng(seed)
    relevant = rng.random((7, 150)) < rng.choice([0.02, 0.9], (7, 1))
    relevant[:, seed] = True
    scores = rng.integers(0, 40 if seed % 2 else 3, (7, 150)).astype(np.float32)
    scores[rng.random((7, 150)) < 0.3] = -np.inf
    split, orders = split_of(relevant), np.argsort(-scores, axis=1, kind="stable")
    assert ranked_names(split, scores) == [[split.gallery[i] for i in order[:10]] for order in orders]
    hits = [row[order] for row, order in zip(relevant, orders, strict=True)]
    found = measure(split, scores)["all"]
    assert found["recall@5"] == np.mean([row[:5].any() for row in hits])
    assert found["map"] == pytest.approx(np.mean([(row.cumsum() / np.arange(1, 151))[row].mean() for row in hits]))
    assert found["minp"] == pytest.approx(np.mean([row.sum() / (np.flatnonzero(row)[-1] + 1) for row in hits]))


def test_without_answers_nothing_is_measured():
    split = split_of(np.eye(2, dtype=bool))
    unknown = RetrievalSplit(split.folder, split.queries, split.gallery, split.routes, None)
    with pytest.raises(ContractError, match=r"test_gt\.txt"):
        measure(unknown, np.eye(2))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, request) -> Path:
    from finetune.config import FinetuneConfig
    from pipeline.config import build
    from tests.unit.finetune.conftest import MODEL

    start = start_model(build(FinetuneConfig, {"out": "x", "data": {"folder": "x"}, "model": MODEL}, "test"))
    folder = tmp_path_factory.mktemp("checkpoint")
    save_model(folder, start.model, start.tokenizer, {})
    return folder


def test_queries_are_ranked_among_pictures_of_their_kind_and_equal_texts_equally(miniature, checkpoint):
    from pretrain.checkpoint import load_model

    loaded, split = load_model(checkpoint), read_test(miniature)
    scores = rank_split(Protocol().searcher(loaded.model, loaded.tokenizer), split, EvalConfig())
    for rows, columns in split.routes.values():
        assert np.isfinite(scores[np.ix_(rows, columns)]).all()
        others = sorted(set(range(len(split.gallery))) - set(columns))
        assert np.isneginf(scores[np.ix_(rows, others)]).all()
    for i, text in enumerate(split.queries):
        assert (scores[i] == scores[split.queries.index(text)]).all()
    assert all(len(set(names)) == 10 for names in ranked_names(split, scores))


def test_a_model_whose_numbers_are_not_finite_is_refused_where_it_ranks(miniature, checkpoint):
    from pretrain.checkpoint import load_model

    loaded, split = load_model(checkpoint), read_test(miniature)
    with torch.no_grad():
        loaded.model.text_proj.weight.fill_(torch.nan)
    with pytest.raises(ContractError, match=r"query '.*has a score of nan"):
        rank_split(Protocol().searcher(loaded.model, loaded.tokenizer), split, EvalConfig())


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_vanishes_while_a_split_is_evaluated_is_named(tmp_path, workers):
    with pytest.raises(ContractError, match=r"gone\.jpg cannot be read: No such file"):
        next(pixel_batches(SimpleNamespace(pixels=None), tmp_path, ["gone.jpg"], 1, workers))


def test_a_predicted_submission_is_valid(miniature, checkpoint, tmp_path):
    report = predict_submission(checkpoint, miniature, tmp_path / "s.json", device="cpu")
    split = read_test(miniature)
    assert (report["queries"], report["images"]) == (len(split.queries), len(split.gallery))
    assert find_problems(read_submission(tmp_path / "s.json"), split.queries, split.gallery) == []


def test_a_submission_names_the_checkpoints_that_ranked_though_a_training_chooses_others_meanwhile(
    miniature, checkpoint, tmp_path, monkeypatch
):
    root = tmp_path / "out" / "checkpoint"
    for name in ("best-00000001", "best-00000002"):
        shutil.copytree(checkpoint, root / name)
    (root / POINTER).write_text("best-00000001\n")

    def rank_while_another_is_chosen(*arguments):
        (root / POINTER).write_text("best-00000002\n")
        shutil.rmtree(root / "best-00000001", ignore_errors=True)
        return fused_scores(*arguments)

    monkeypatch.setattr("finetune.evaluate.fused_scores", rank_while_another_is_chosen)
    report = predict_submission(tmp_path / "out", miniature, tmp_path / "s.json", device="cpu")
    assert [found["checkpoints"] for found in report["kinds"].values()] == [[str(root / "best-00000001")]] * 2


def test_all_checkpoints_of_a_submission_are_opened_before_the_first_one_ranks(miniature, checkpoint, tmp_path, monkeypatch):
    """Otherwise a training that deletes one meanwhile would cost the ranking that is done."""
    by_kind = {kind: [Path(shutil.copytree(checkpoint, tmp_path / kind))] for kind in ("pedestrian", "vehicle")}

    def rank_while_all_are_deleted(*arguments):
        for (folder,) in by_kind.values():
            shutil.rmtree(folder, ignore_errors=True)
        return fused_scores(*arguments)

    monkeypatch.setattr("finetune.evaluate.fused_scores", rank_while_all_are_deleted)
    report = predict_submission([], miniature, tmp_path / "s.json", device="cpu", by_kind=by_kind)
    assert {kind: found["checkpoints"] for kind, found in report["kinds"].items()} == {k: [str(f)] for k, (f,) in by_kind.items()}


def test_costs_and_scores_are_of_one_checkpoint_though_a_training_chooses_another_meanwhile(tiny_tree, checkpoint, tmp_path, monkeypatch):
    root = tmp_path / "out" / "checkpoint"
    for name in ("best-00000001", "best-00000002"):
        shutil.copytree(checkpoint, root / name)
    (root / POINTER).write_text("best-00000001\n")

    def measure_while_another_is_chosen(*arguments):
        (root / POINTER).write_text("best-00000002\n")
        return {}

    monkeypatch.setattr("finetune.evaluate.cost_of", measure_while_another_is_chosen)
    (tmp_path / "recipe.yaml").write_text(json.dumps(tiny_tree))
    arguments = ["evaluate", str(tmp_path / "recipe.yaml"), "--cost", "--json"]
    said = json.loads(CliRunner().invoke(finetune, arguments, catch_exceptions=False).stdout)
    assert said["measured_on"]["checkpoint"] == str(root / "best-00000001")


def test_a_score_of_attributes_that_is_not_defined_is_left_out(people):
    """Nothing is predicted of any picture, so precision is 0 / 0."""

    class Denying:
        has_matching, model = True, torch.nn.Identity()

        def pixels(self, picture: bytes, where: str) -> np.ndarray:
            return np.zeros(1)

        def embed_images(self, pixels: torch.Tensor) -> ImageFeatures:
            return ImageFeatures(pixels[:, None], pixels)

        def embed_texts(self, texts: list[str]) -> None: ...

        def match(self, texts: None, rows: torch.Tensor, image_embeds: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(rows))

    scores = validation_task(DataConfig(name="pa-100k", folder=str(people))).run(Denying(), EvalConfig())
    assert set(scores["all"]) >= {"mean_accuracy", "recall", "accuracy"}
    json.dumps(scores, allow_nan=False)


def test_attributes_that_never_differ_are_refused_before_anything_is_scored(people, tmp_path):
    """Their mean accuracy is 0 / 0, and no later checkpoint would exceed it."""
    shutil.copytree(people, tmp_path / "copy")
    annotation = tmp_path / "copy" / "pa100k_val.json"
    annotation.write_text(json.dumps(json.loads(annotation.read_text())[:1]))
    with pytest.raises(ContractError, match=r"pa100k_val\.json: no attribute of split val is 1 .*\(1 pictures\).* both"):
        validation_task(DataConfig(name="pa-100k", folder=str(tmp_path / "copy")))


def test_gold_that_does_not_fit_is_refused(miniature, tmp_path):
    shutil.copytree(miniature, tmp_path / "copy")
    path = gold_path(tmp_path / "copy")
    gold = read_gold(path)
    path.write_text("\n".join("$".join([text, *names]) for text, names in gold[1:]) + "\n")
    with pytest.raises(ContractError, match="line by line"):
        read_test(tmp_path / "copy")
    path.write_text("\n".join(f"{text}$nobody.jpg" for text, _ in gold) + "\n")
    with pytest.raises(ContractError, match=r"line 1 names nobody\.jpg"):
        read_test(tmp_path / "copy")
