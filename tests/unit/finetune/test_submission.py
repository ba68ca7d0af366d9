"""Submission files: format, validator, and the organisers' score beside the standard one."""

import json
from pathlib import Path

import pytest

from finetune.datasets.challenge import read_gold
from finetune.submission import (
    average_precision_at,
    find_problems,
    official_average_precision,
    read_submission,
    score,
    write_submission,
)
from pipeline.contracts.errors import ContractError

GALLERY = [f"{i:06d}.jpg" for i in range(20)]
QUERIES = ["A red Audi SUV.", "A red Audi SUV.", "A Bus."]


def good() -> list[tuple[str, list[str]]]:
    return [(text, GALLERY[i : i + 10]) for i, text in enumerate(QUERIES)]


def test_a_written_submission_is_ordinary_json_and_reads_back(tmp_path: Path):
    write_submission(tmp_path / "s.json", good())
    assert json.loads((tmp_path / "s.json").read_text())["results"][2] == {"text": "A Bus.", "image_names": GALLERY[2:12]}
    assert read_submission(tmp_path / "s.json") == good()
    assert find_problems(good(), QUERIES, GALLERY) == []


@pytest.mark.parametrize(
    "content", ["[]", "{}", '{"results": [{"text": "A Bus."}]}', '{"results": [{"text": 1, "image_names": []}]}', "{'results'"]
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(ContractError, match=r"s\.json"):
        read_submission(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        (lambda r: r[:-1], ["2 results for 3 queries"]),
        (lambda r: [r[0], (r[1][0], r[1][1][:9]), r[2]], ["result 2 ('A red Audi SUV.'): 9 image names"]),
        (lambda r: [(r[0][0], ["x.jpg", *r[0][1][1:]]), *r[1:]], ["not in the gallery: x.jpg"]),
        (lambda r: [(r[0][0], [GALLERY[1], *r[0][1][1:]]), *r[1:]], ["repeated image names 000001.jpg"]),
        (lambda r: [("A red Audi SUV", r[0][1]), *r[1:]], ["text is 'A red Audi SUV'"]),
        (lambda r: [r[2], r[1], r[0]], ["result 1 ('A red Audi SUV.'): text is 'A Bus.'", "result 3 ('A Bus.'): text is 'A red"]),
    ],
)
def test_the_validator_names_the_query_and_what_is_wrong(change, messages):
    problems = find_problems(change(good()), QUERIES, GALLERY)
    assert len(problems) == len(messages)
    assert all(message in problem for message, problem in zip(messages, problems, strict=True))


def test_the_official_score_divides_by_hits_and_the_standard_one_by_positives():
    hit, misses = GALLERY[0], GALLERY[1:10]
    positives = [hit, *GALLERY[10:14]]
    assert official_average_precision([hit, *misses], positives) == pytest.approx(1.0, abs=1e-6)
    assert average_precision_at([hit, *misses], positives) == pytest.approx(1 / 5)
    assert official_average_precision([hit] * 10, positives) == pytest.approx(1.0, abs=1e-6)
    assert average_precision_at([hit] * 10, positives) == pytest.approx(1 / 5)
    assert official_average_precision(misses, positives) == 0 == average_precision_at(misses, positives)
    assert average_precision_at(GALLERY[:10], GALLERY) == 1


def test_another_order_is_not_scored():
    gold = [(text, [GALLERY[0]]) for text in QUERIES]
    with pytest.raises(ContractError, match=r"result 1 is for 'A Bus\.'"):
        score(gold, good()[::-1])
    with pytest.raises(ContractError, match="2 results for 3 gold"):
        score(gold, good()[:2])


def test_the_published_sample_scores_as_the_organisers_scorer_does(shared: Path):
    folder = shared / "reference" / "challenge_sample" / "test"
    scores = score(read_gold(folder / "test_gt.txt"), read_submission(folder / "submission.json"))
    assert scores["official"] == 0.5666667916666042
    assert scores["recall@1"] == 0.4


def test_the_organisers_cases_are_reproduced(shared: Path):
    cases = json.loads((shared / "reference" / "parity_challenge" / "official_map.json").read_text())
    scored = {name: case for name, case in cases.items() if case.get("score") is not None}
    assert len(scored) == 6
    for name, case in scored.items():
        assert score(case["ground_truth"], case["prediction"])["official"] == case["score"], name
