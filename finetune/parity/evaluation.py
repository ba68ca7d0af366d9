"""Rankings, the winners' validation scores, and the organisers' score."""

import numpy as np

from finetune.datasets.retrieval_split import inclusion_matrix
from finetune.metrics import (
    average_precision_of_hits,
    hit_rates,
    mean_average_precision,
    mean_inverse_negative_penalty,
    ranking,
)
from finetune.parity.fixture import ChallengeFixture, relative
from finetune.submission import score
from pipeline.contracts.errors import ContractError
from pretrain.parity.fixture import Check, equal

PERCENT = 1e-5


def irra_rank_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = {name: value.numpy() for name, value in fixture.arrays("irra_rank.npz").items()}
    similarity, relevant = golden["similarity"], golden["q_pids"][:, None] == golden["g_pids"][None]
    depth = len(golden["cmc"])
    return [
        relative("rank/cmc", float(np.abs(100 * hit_rates(similarity, relevant, depth) - golden["cmc"]).max()), 0.0, 1e-4),
        relative("rank/mAP", 100 * mean_average_precision(similarity, relevant), float(golden["mAP"]), PERCENT),
        relative("rank/mINP", 100 * mean_inverse_negative_penalty(similarity, relevant), float(golden["mINP"]), PERCENT),
        equal("rank/order", ranking(similarity).flatten().tolist(), golden["indices"].flatten().tolist()),
    ]


def winner_rank_checks(fixture: ChallengeFixture) -> list[Check]:
    golden = {name: value.numpy() for name, value in fixture.arrays("winner_rank.npz").items()}
    similarity, relevant = golden["similarity"], inclusion_matrix(golden["attributes"])
    depth = len(golden["cmc"])
    ours = [100 * average_precision_of_hits(similarity, relevant, k) for k in range(1, len(golden["mAP_at_1_to_10"]) + 1)]
    return [
        relative("rank/winners' cmc", float(np.abs(100 * hit_rates(similarity, relevant, depth) - golden["cmc"]).max()), 0.0, 1e-4),
        *(
            relative(f"rank/winners' mAP@{k}", o, float(g), PERCENT)
            for k, (o, g) in enumerate(zip(ours, golden["mAP_at_1_to_10"], strict=True), 1)
        ),
    ]


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
