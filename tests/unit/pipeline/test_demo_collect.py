"""Numbers of the demo, against a folder whose content is known."""

import json
from pathlib import Path

import pytest

from pipeline.contracts.attributes import PERSON_27
from pipeline.contracts.errors import ContractError
from pipeline.demo.collect import collect
from pipeline.demo.flow import attribute_counts, read_flow
from pipeline.demo.layout import DemoPaths
from pipeline.demo.measures import split_measures
from pipeline.demo.pictures import spread, stated
from pipeline.demo.queries import answered_queries
from pipeline.demo.training import OBJECTIVES, SCORES, compare, read_history, read_lines, read_losses
from pipeline.fileio import read_json, write_json
from pipeline.graph import STAGES
from pipeline.paths import RunPaths
from tests.unit.pipeline.demo_run import IMAGES, KEPT, STEPS, make_demo, make_run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoPaths:
    return make_demo(tmp_path_factory.mktemp("demo"))


def test_counts_reasons_and_their_sum(demo):
    found = collect(demo, STEPS).metrics["generation"]
    assert found["images"] == IMAGES - 1  # one never became a picture
    assert found["kept"] == KEPT
    assert found["dropped"] == {"no_person": 3, "several_persons": 1, "no_clothing": 1, "duplicate": 1}
    assert found["images"] == found["kept"] + sum(found["dropped"].values()) + sum(found["failed"].values())
    assert found["stages"]["generate"] == {"seen": 20, "kept": 19, "dropped": {}, "failed": {"worker_died": 1}}


def test_metrics_have_the_promised_keys_as_plain_json(demo):
    metrics = json.loads(json.dumps(collect(demo, STEPS).metrics))
    assert set(metrics["losses"]) == {"itc", "itm", "mlm", "iac", "iam", "mam"}
    assert metrics["losses"]["mam"] == {"first": 2.0, "last": 1.0}
    assert set(metrics["seconds"]) >= {spec.name for spec in STAGES} | {"pretrain", "finetune", "total"}
    assert metrics["seconds"]["total"] == pytest.approx(sum(10.5 + i for i in range(len(STEPS))))
    for kind in (metrics["retrieval"], metrics["retrieval"]["vehicle"]):
        assert kind["recall_at_1"]["pretrained"]["mean"] == pytest.approx(0.61)
        assert kind["recall_at_1"]["pretrained"]["std"] == pytest.approx(0.01)
        assert kind["recall_at_1"]["pretrained"]["values"] == [0.6, 0.61, 0.62]
        assert kind["recall_at_1"]["scratch"]["mean"] == pytest.approx(0.41)


@pytest.mark.parametrize("iam", [{}, {"iam": {"first": None, "last": None}}])
def test_objectives_that_the_training_never_had_are_named(tmp_path, iam):
    losses = {name: {"first": 2.0, "last": 1.0} for name in OBJECTIVES if name != "iam"}
    write_json(tmp_path / "summary.json", {"losses": losses | iam})
    with pytest.raises(ContractError, match=r"summary\.json: no losses of iam; the demo needs all six objectives"):
        read_losses(tmp_path)


def test_a_ledger_that_contradicts_its_done_record_is_refused(tmp_path):
    paths = make_run(tmp_path / "run")
    paths.ledger("filter", 0).write_bytes(paths.ledger("filter", 1).read_bytes())
    with pytest.raises(ContractError, match="filter"):
        read_flow(paths)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(ContractError, match="prompts"):
        read_flow(RunPaths(tmp_path))


def test_attributes_are_counted_by_their_three_states():
    counts = attribute_counts([{"attributes": {"hat": 0}}, {"attributes": {"hat": 1, "age": -1}}, {"attributes": {"hat": 0}}], PERSON_27)
    assert counts["hat"] == {"0": 2, "1": 1, "not_stated": 0}
    assert counts["age"] == {"0": 0, "1": 0, "not_stated": 3}
    assert list(counts) == list(PERSON_27.names)


def test_stated_attributes_leave_out_what_a_person_does_not_wear():
    values = {"gender": 0, "hat": 1, "backpack": 0, "sleeve_length": 0, "upper_black": 0, "upper_white": 1, "lower_blue": -1}
    assert stated(values, PERSON_27) == ["woman", "backpack", "long sleeves", "black top"]


def test_kept_cards_show_the_pictures_of_the_shards(demo):
    cards = collect(demo, STEPS).kept
    assert len(cards) == KEPT
    assert cards[0].key == "000000000_00"
    assert cards[0].prompt == "a man in a black shirt, number 0"
    assert len({card.picture for card in cards}) == KEPT


def test_dropped_cards_come_from_every_stage_with_a_picture(demo):
    cards = collect(demo, STEPS).dropped
    assert [(card.stage, card.reason) for card in cards] == [
        *[("filter", "no_person")] * 3,
        ("filter", "several_persons"),
        ("caption", "no_clothing"),
        ("shard", "duplicate"),
    ]
    assert cards[0].deciding == (("num_persons", "1"),)
    assert cards[0].measures == (("entropy_bits", "5.25"),)


def test_measures_are_short_and_those_of_another_stages_reason_stay_together():
    measures = {
        "num_persons": 0,
        "luma_std": 41.2378,
        "encoded_bytes": 26814,
        "channel_variance": 1212.36,
        "margin_top": -0.00004,
        "text": "x",
    }
    assert split_measures("no_clothing", measures)[0] == ()
    deciding, others = split_measures("blank_image", measures)
    assert deciding == (("luma_std", "41.2"), ("entropy_bits", "not measurable"))
    assert dict(others) == {"num_persons": "0", "encoded_bytes": "26814", "channel_variance": "1212", "margin_top": "-0.000"}


def test_right_answers_are_told_from_wrong_ones(demo):
    test = demo.miniature / "test"
    queries = answered_queries(read_json(demo.submission), test / "test_gt.txt", test / "test_images")
    assert len(queries) == 5
    assert [hit.right for hit in queries[0].hits] == [False, True, False, True, False]


def test_a_submission_for_other_queries_is_refused(demo):
    test = demo.miniature / "test"
    other = {"results": [{"text": "another", "image_names": []}] * 6}
    with pytest.raises(ContractError, match="another"):
        answered_queries(other, test / "test_gt.txt", test / "test_images")


def test_spread_is_even_and_never_repeats():
    assert spread(range(10), 5) == [0, 2, 4, 6, 8]
    assert spread(range(3), 5) == [0, 1, 2]
    assert spread([], 5) == []


def test_a_line_that_is_being_written_is_not_read(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 1}\n{"step": 2}\n{"ste')
    assert [row["step"] for row in read_lines(log)] == [1, 2]
    assert read_lines(tmp_path / "absent.jsonl") == []


def test_a_step_that_was_trained_again_after_a_restart_counts_once(tmp_path: Path):
    log = tmp_path / "metrics.jsonl"
    log.write_text("".join(json.dumps({"step": step, "train/itc": loss}) + "\n" for step, loss in ((1, 3.0), (2, 2.0), (2, 2.5), (3, 1.0))))
    assert read_history(log)["itc"] == ([1, 2, 3], [3.0, 2.5, 1.0])


def seeds_json(seeds: list[int], mean: float) -> dict:
    group = {"mean": mean, "std": 0.0, "values": [mean] * len(seeds)}
    return {"seeds": seeds, "test": dict.fromkeys(("all", "vehicle"), dict.fromkeys(SCORES, group))}


def test_differences_are_between_means():
    found = compare(seeds_json([0, 1], 0.6), seeds_json([0, 1], 0.2))
    assert found["map"]["difference"] == found["vehicle"]["recall_at_10"]["difference"] == pytest.approx(0.4)
    assert "pedestrian" not in found


def test_groups_of_other_seeds_are_not_compared():
    with pytest.raises(ContractError, match="other seeds"):
        compare(seeds_json([0, 1], 0.6), seeds_json([0, 2], 0.2))
