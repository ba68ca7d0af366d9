"""The strict grammar: texts back to what they were written from, real lines and written ones."""

import json
from pathlib import Path
from random import Random

import pytest
from click.testing import CliRunner

from finetune.cli import finetune
from finetune.datasets.challenge import Pedestrian, read_labels
from finetune.datasets.routing import kind_of_query
from pipeline.contracts.challenge import BITS_21, BRANDS, VehicleTag
from pipeline.contracts.challenge_parse import parse_pedestrian, parse_vehicle
from pipeline.contracts.challenge_sentences import draw_sentence, mentioned, write_vehicle
from pipeline.contracts.errors import ContractError


def test_every_real_sentence_comes_back_and_names_only_set_bits(shared: Path):
    for record in read_labels(shared / "data" / "challenge" / "val_label_sample.txt"):
        if not isinstance(record, Pedestrian):
            assert parse_vehicle(record.text) == record.tag
            continue
        sentence = parse_pedestrian(record.text)
        assert str(sentence) == record.text
        assert sentence.bits == tuple(int(value == 1) for value in mentioned(record.text))
        assert all(said <= bit for said, bit in zip(sentence.bits, record.bits, strict=True))


def test_the_right_spelling_is_read_and_the_published_one_written():
    text = "A walking man who is a minor, and is standing sideways. He is wearing a hat, glasses."
    sentence = parse_pedestrian(text)
    assert str(sentence) == text.replace("wearing", "wearning").replace("hat, g", "hat,g")


def test_a_silent_bit_is_not_read_from_the_text():
    bits = [0] * 21
    for name in ("age_18_60", "front", "glasses", "long_sleeve", "handbag", "backpack"):
        bits[BITS_21.names.index(name)] = 1
    said = draw_sentence(bits, Random(0)).bits
    assert said[BITS_21.names.index("handbag")] == 1
    assert said[BITS_21.names.index("backpack")] == 0
    assert said[BITS_21.names.index("long_sleeve")] == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A walking man who is a minor.",
        "A walking man who is a minor, and is standing sideways. She is wearning a hat.",
        "A walking man who is a minor, with her body facing the camera. He is wearning a hat.",
        "A walking man who is a minor, and is standing sideways. He is in a short sleeve shirt wearning a hat.",
    ],
)
def test_a_text_outside_the_grammar_is_refused(text):
    with pytest.raises(ContractError, match="template grammar"):
        parse_pedestrian(text)


@pytest.mark.parametrize("brand", BRANDS)
def test_every_brand_survives_the_sentence_and_is_routed_as_a_vehicle(brand):
    for tag in (VehicleTag("orange", brand, "SUV"), VehicleTag(None, brand, None), VehicleTag("red", brand, "Truck")):
        text = write_vehicle(tag, Random(0))
        assert parse_vehicle(text) == tag
        assert kind_of_query(text) == "vehicle"


def test_parse_prints_the_rows_of_the_contract(tmp_path):
    bits = "0,0,1,0,1,0,0,0,1,0,0,0,0,1,0,0,0,0,0,0,0"
    text = "A walking man who is an adult person aged 18-60, with his body facing the camera. He is wearning glasses."
    path = tmp_path / "l.txt"
    path.write_text(f"a.jpg$red Balong Heavy Truck.$A red Balong Heavy Truck.\n000001.jpg${bits}${text}\n")
    done = CliRunner().invoke(finetune, ["challenge", "parse", str(path), "--json"], standalone_mode=False)
    vehicle, person = map(json.loads, done.stdout.splitlines())
    tag = {"colour": "red", "brand": "Balong Heavy Truck", "type": None}
    assert vehicle == {"image": "a.jpg", "kind": "vehicle", "tag": tag, "text": "A red Balong Heavy Truck.", "mentioned": []}
    assert person == {
        "image": "000001.jpg",
        "kind": "pedestrian",
        "bits": [int(v) for v in bits.split(",")],
        "text": text,
        "mentioned": ["age_18_60", "front", "glasses"],
    }
