"""Rankings, the winners' validation scores, and the organisers' score."""

from collections.abc import Sequence

import numpy as np

from finetune.datasets.retrieval_split import inclusion_matrix
from finetune.metrics import average_precision_of_hits, ranking
from finetune.parity.fixture import ChallengeFixture, relative
from finetune.submission import score
from pipeline.contracts.errors import ContractError
from pretrain.parity.fixture import Check, equal
from pretrain.retrieval.metrics import means, positives_of, query_metrics, relevant_ranks

PERCENT = 1e-5


def irra_rank_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = {name: value.numpy() for name, value in fixture.arrays("irra_rank.npz").items()}
    similarity = golden["similarity"]
    ranks = relevant_ranks(similarity, positives_of(golden["q_pids"], golden["g_pids"]))
    measured = means(query_metrics(ranks))
    return [
        _hits("rank/cmc", ranks, golden["cmc"]),
        relative("rank/mAP", 100 * measured["map"], float(golden["mAP"]), PERCENT),
        relative("rank/mINP", 100 * measured["minp"], float(golden["mINP"]), PERCENT),
        equal("rank/order", ranking(similarity).flatten().tolist(), golden["indices"].flatten().tolist()),
    ]


def winner_rank_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = {name: value.numpy() for name, value in fixture.arrays("winner_rank.npz").items()}
    similarity, relevant = golden["similarity"], inclusion_matrix(golden["attributes"])
    ranks = relevant_ranks(similarity, [np.flatnonzero(row) for row in relevant])
    ours = [100 * average_precision_of_hits(similarity, relevant, k) for k in range(1, len(golden["mAP_at_1_to_10"]) + 1)]
    return [
        _hits("rank/winners' cmc", ranks, golden["cmc"]),
        *(
            relative(f"rank/winners' mAP@{k}", o, float(g), PERCENT)
            for k, (o, g) in enumerate(zip(ours, golden["mAP_at_1_to_10"], strict=True), 1)
        ),
    ]


def _hits(name: str, ranks: Sequence[np.ndarray], golden: np.ndarray) -> Check:
    """golden (K,): percent of the queries with a relevant item among the first 1, 2, ... K."""
    first = np.array([own[0] for own in ranks])
    ours = 100 * (first[:, None] <= np.arange(1, len(golden) + 1)).mean(0)
    return relative(name, float(np.abs(ours - golden).max()), 0.0, 1e-4)


def official_checks(fixture: ChallengeFixture) -> list[Check]:
    checks = []
    for name, case in fixture.json("official_map.json").items():
        checks += _labels(case) if "orders" in case else [_scored(name, case)]
    return checks


def _scored(name: str, case: dict) -> Check:
    gold, prediction = ([(text, list(names)) for text, names in case[key]] for key in ("ground_truth", "prediction"))
    try:
        ours = score(gold, prediction)["official"]
    except ContractError:
        return equal(f"official/{name} is refused", [None], [case["score"]])
    if case["score"] is None:
        return Check(f"official/{name} is refused", float("inf"))
    return relative(f"official/{name}", ours, case["score"], 1e-12)


def _labels(case: dict) -> list[Check]:
    """The winners' score of vehicles: positives are the items of equal tag, the denominator is the hits among the first k."""
    orders, labels = np.array(case["orders"]), np.array(case["labels"])
    similarity = -np.argsort(orders, axis=1).astype(float)
    relevant = labels[:, None] == labels[None]
    golden = case["mAP"]
    return [
        relative(f"official/vehicles mAP@{k}", average_precision_of_hits(similarity, relevant, int(k)), golden[k], 1e-9) for k in golden
    ]
